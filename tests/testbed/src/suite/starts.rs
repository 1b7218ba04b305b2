//! Starting and stopping whole documents: who waits for whom, what a failure or a kill leaves, and what an edited document changes.

use super::document::Document;
use super::guests::{self, IMAGES, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use crate::paths;
use agent::client::Output;
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "avpsctl: a broken telematics image and a table inserted above leave cluster and infotainment running",
            400,
            cockpit,
        ),
        Test::new(
            "avpsctl: a domain is created when those named in after run with their devices ready",
            200,
            after,
        ),
        Test::new(
            "avpsctl: up that is killed at any step is repaired by the next up",
            400,
            killed,
        ),
        Test::new(
            "avpsctl: down lets a paused guest run, waits for no hung one, and what stays is supervised",
            240,
            down,
        ),
    ]
}

const UP: Duration = Duration::from_secs(120);

/// Another domain, without devices.
const INSERTED: &str = "[[domain]]\nname = \"inserted\"\nkernel = \"/usr/lib/avps/guest/Image\"\n\
     ramdisk = \"/usr/lib/avps/guest/initramfs.cpio.gz\"\ncmdline = \"console=hvc0 quiet\"\nmemory = \"128MiB\"\n\n";

fn avpsctl(context: &Context, args: &[&str]) -> Result<Output, Failed> {
    let argv = ["avpsctl"].iter().chain(args).copied();
    Ok(context.dom0().command(argv).time(UP).output()?)
}

fn up(context: &Context, path: &str) -> Result<(Output, Value), Failed> {
    let output = avpsctl(context, &["up", "--json", "--timeout", "60", path])?;
    let said = first(&output.text());
    Ok((output, said))
}

/// The first object of an output.
fn first(text: &str) -> Value {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter();
    objects.next().and_then(Result::ok).unwrap_or_default()
}

/// What `up` did to a domain.
fn action(said: &Value, name: &str) -> String {
    let domains = said["domains"].as_array().into_iter().flatten();
    let mut own = domains.filter(|domain| domain["name"] == name);
    let action = own.next().map(|domain| domain["action"].clone());
    action
        .and_then(|action| action.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn did(output: &Output, said: &Value, code: i32, wanted: &[(&str, &str)]) -> Outcome {
    let right = wanted
        .iter()
        .all(|(name, what)| action(said, name) == *what);
    ensure(output.exit.code == Some(code) && right, || {
        format!(
            "wanted {code} {wanted:?}: {} {said} {}",
            output.exit,
            output.error_text()
        )
    })
}

/// Names and numbers of all domains but dom0.
fn domains(context: &Context) -> Result<String, Failed> {
    context.sh("xl list | tail -n +3 | awk '{ print $1, $2 }'")
}

fn cockpit(context: &Context) -> Outcome {
    guests::backend(&context.dom0())?;
    let shipped = paths::workspace().join("configs/cockpit.avps.toml");
    let text = std::fs::read_to_string(shipped)?;
    let document = Document::put(context, "cockpit", &text, UP)?;
    let path = document.path.as_str();
    context.sh(&format!(
        "cd {IMAGES} && truncate -s 4M cluster.img infotainment.img infotainment-data.img && \
         rm -f telematics.img && head -c 1000 /dev/zero > telematics.img"
    ))?;
    let play = || {
        let others = [
            ("cluster", "started"),
            ("infotainment", "started"),
            ("telematics", "failed"),
        ];
        let (output, said) = up(context, path)?;
        did(&output, &said, 4, &others)?;
        let error = output.error_text();
        ensure(
            error.contains("running: cluster, infotainment") && error.contains("512"),
            || error,
        )?;
        for name in ["cluster", "infotainment"] {
            context.guest(name)?.ping(Duration::from_secs(30))?;
        }
        let before = domains(context)?;
        ensure(before.lines().count() == 2, || before.clone())?;

        context.sh(&format!("rm {IMAGES}/telematics.img"))?;
        let others = [
            ("cluster", "unchanged"),
            ("infotainment", "unchanged"),
            ("telematics", "failed"),
        ];
        let (output, said) = up(context, path)?;
        did(&output, &said, 4, &others)?;
        ensure(said.to_string().contains("No such file"), || {
            said.to_string()
        })?;

        context.sh(&format!("truncate -s 4M {IMAGES}/telematics.img"))?;
        let others = [
            ("cluster", "unchanged"),
            ("infotainment", "unchanged"),
            ("telematics", "started"),
        ];
        let (output, said) = up(context, path)?;
        did(&output, &said, 0, &others)?;

        let edited = text.replacen("[[domain]]", &format!("{INSERTED}[[domain]]"), 1);
        let edited = edited.replace("on_crash = \"restart\"", "on_crash = \"destroy\"");
        Document::put(context, "cockpit", &edited, UP)?;
        let wanted = [
            ("inserted", "started"),
            ("cluster", "unchanged"),
            ("infotainment", "unchanged"),
            ("telematics", "unchanged"),
        ];
        let (output, said) = up(context, path)?;
        did(&output, &said, 0, &wanted)?;
        let now = domains(context)?;
        ensure(before.lines().all(|line| now.contains(line)), || {
            format!("before {before:?}, now {now:?}")
        })?;

        let bigger = edited.replace("memory = \"256MiB\"", "memory = \"264MiB\"");
        Document::put(context, "cockpit", &bigger, UP)?;
        let output = avpsctl(context, &["up", path])?;
        let error = output.error_text();
        ensure(
            output.exit.code == Some(1) && error.contains("infotainment (memory: 256MiB → 264MiB)"),
            || format!("{} {error}", output.exit),
        )
    };
    document.down(context, play())?;
    context
        .sh(&format!(
            "cd {IMAGES} && rm -f cluster.img infotainment*.img telematics.img"
        ))
        .map(drop)
}

/// A document of two: the second waits for the first, and stands before it.
fn two(context: &Context, name: &str, second: &str) -> Result<Document, Failed> {
    let [first, then] = [format!("{name}-first"), format!("{name}-then")];
    let domain = |own: &str, keys: &str| {
        let text = Spec::new(own, "").text();
        let (_, table) = text.split_once("[[domain]]").unwrap_or_default();
        format!("[[domain]]{}", table.replace("vcpus = 2", keys))
    };
    let head = format!("schema = \"avps/1\"\n[platform]\nname = \"{name}\"\n");
    let text = format!(
        "{head}{}{}",
        domain(&then, second),
        domain(&first, "vcpus = 1")
    );
    context.sh(&format!(
        "cd {IMAGES} && truncate -s 4M {first}.img {then}.img"
    ))?;
    Document::put(context, name, &text, UP)
}

/// The holder is stopped, so that no device becomes ready.
fn after(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let document = two(context, "wait", "after = [\"wait-first\"]")?;
    let log = "/var/log/bed/wait.log";
    let outcome = guests::while_stopped(context, |holder| {
        let pid = dom0.spawn(["avpsctl", "up", "--timeout", "60", &document.path], log)?;
        let until = Instant::now() + Duration::from_secs(30);
        while context
            .sh("xl domid wait-first 2>/dev/null || true")?
            .is_empty()
        {
            ensure(
                Instant::now() < until,
                || "avpsctl up created no domain in 30 s",
            )?;
        }
        // Long enough to create the other one, had it not to wait.
        context.sh("sleep 5")?;
        let alone = domains(context)?;
        ensure(alone.lines().count() == 1, || {
            format!("created too early: {alone}")
        })?;
        context.sh(&format!("kill -CONT {holder}"))?;
        let exit = dom0.wait(pid, UP)?;
        let said = String::from_utf8_lossy(&dom0.get(log)?).into_owned();
        let at = |text: &str| said.lines().position(|line| line.starts_with(text));
        let (runs, creating) = (at("wait-first: running"), at("wait-then: creating"));
        ensure(exit.success() && runs.is_some() && runs < creating, || {
            format!("{exit}: {said}")
        })?;
        let both = domains(context)?;
        ensure(both.lines().count() == 2, || both)
    });
    document.down(context, outcome)?;
    context
        .sh(&format!("rm -f {IMAGES}/wait-*.img {log}"))
        .map(drop)
}

/// When `up` is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It has just said the line of this number.
    Said(u32),
    /// So many seconds after its start.
    After(&'static str),
}

/// Starts `up` and kills it. False if it was done before.
fn killed_at(context: &Context, path: &str, moment: Moment) -> Result<bool, Failed> {
    let script = match moment {
        Moment::Said(line) => format!(
            "rm -f /tmp/said && mkfifo /tmp/said; avpsctl up {path} >/dev/null 2>/tmp/said & pid=$!; n=0; \
             while read -r line; do n=$((n+1)); [ $n = {line} ] && kill -9 $pid && break; done </tmp/said; \
             wait $pid; echo $?"
        ),
        Moment::After(seconds) => format!(
            "avpsctl up {path} >/dev/null 2>&1 & pid=$!; sleep {seconds}; kill -9 $pid; wait $pid; echo $?"
        ),
    };
    let code = context.dom0().shell(&script).time(UP).text()?;
    Ok(code.trim() == "137")
}

fn killed(context: &Context) -> Outcome {
    guests::backend(&context.dom0())?;
    let spec = Spec::new("mortal", "");
    context.sh(&format!("truncate -s 4M {}", spec.image()))?;
    let document = Document::put(context, spec.name, &spec.text(), UP)?;
    // Within libxl, too: it says nothing while it builds a domain.
    let delays: &[&str] = context.amount(
        &["0.2", "0.5", "1"],
        &["0.1", "0.2", "0.3", "0.4", "0.5", "0.7", "1", "1.5", "2"],
    );
    let play = || {
        let said = kills(context, &document, (1..).map(Moment::Said))?;
        let later = kills(
            context,
            &document,
            delays.iter().copied().map(Moment::After),
        )?;
        ensure(said >= 2 && later >= 1, || {
            format!("only {said} kills after a line and {later} after a time")
        })?;
        guests::up(context, &spec)?;
        let guest = context.guest(spec.name)?;
        guest.ping(Duration::from_secs(30))?;
        context.note(format!(
            "killed {} times, and each time the next up ended with the domain running",
            said + later
        ));
        Ok(())
    };
    document.down(context, play())?;
    context
        .sh(&format!("rm -f {} /tmp/said", spec.image()))
        .map(drop)
}

/// Kills `up` at each moment, until it is done before, and has the next one repair it; how often it was killed.
fn kills(
    context: &Context,
    document: &Document,
    moments: impl Iterator<Item = Moment>,
) -> Result<u32, Failed> {
    let mut kills = 0;
    for moment in moments {
        let killed = killed_at(context, &document.path, moment)?;
        if !killed {
            // The domain runs: the next one has to find nothing.
            document.down(context, Ok(()))?;
            break;
        }
        kills += 1;
        is_repaired(context, document, moment)?;
    }
    Ok(kills)
}

/// The next `up` ends with the domain running and supervised, whatever the killed one left.
fn is_repaired(context: &Context, document: &Document, moment: Moment) -> Outcome {
    let path = document.path.as_str();
    let output = avpsctl(context, &["up", "--timeout", "60", path])?;
    let whole = context.sh(&format!("avpsctl diff {path} && xl list | tail -n +3"))?;
    let host: Value = serde_json::from_str(&context.sh("avpsctl info --json")?)?;
    let supervised = host["supervisors"].to_string().contains("mortal");
    let states = whole
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().nth(4));
    let runs = states.is_some_and(|states| !states.contains('p'));
    ensure(output.exit.success() && supervised && runs, || {
        format!(
            "killed at {moment:?}: {} {} {whole} {host}",
            output.exit,
            output.error_text()
        )
    })?;
    document.down(context, Ok(()))
}

fn down(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let document = two(context, "ends", "vcpus = 1")?;
    document.up(context)?;
    let play = || {
        for name in ["ends-first", "ends-then"] {
            context.guest(name)?.ping(Duration::from_secs(30))?;
        }
        // Xen counts pauses: one is paused as users do it, and one stays paused whatever avpsctl does.
        context.sh("avpsctl pause ends-first && xl pause ends-then && xl pause ends-then")?;
        let began = Instant::now();
        let output = avpsctl(
            context,
            &["down", "--json", "--timeout", "8", &document.path],
        )?;
        let took = began.elapsed();
        let said = first(&output.text());
        ensure(
            output.exit.code == Some(4)
                && action(&said, "ends-first") == "removed"
                && action(&said, "ends-then") == "running",
            || format!("{} {said} {}", output.exit, output.error_text()),
        )?;
        context.note(format!("down took {:.1} s", took.as_secs_f64()));
        // libxl alone would wait a minute for the hung one.
        ensure(took < Duration::from_secs(50), || format!("{took:?}"))?;
        let host: Value = serde_json::from_str(&context.sh("avpsctl info --json")?)?;
        ensure(host["supervisors"].to_string().contains("ends"), || {
            format!("nobody supervises: {host}")
        })?;
        // What it was asked is still there when it runs again, and the supervisor removes it.
        context.sh(
            "xl unpause ends-then; for i in $(seq 60); do xl domid ends-then 2>/dev/null || break; sleep 0.5; done",
        )?;
        guests::nothing_left(&dom0)
    };
    document.down(context, play())?;
    context.sh(&format!("rm -f {IMAGES}/ends-*.img")).map(drop)
}
