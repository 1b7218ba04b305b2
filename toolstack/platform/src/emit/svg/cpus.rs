//! CPUs and who runs on them: a column for each CPU, grouped by pool, and a row for each domain.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::canvas::{Anchor, BADGE, CROSS, Canvas, HEAD, NORMAL, Picture, SMALL, STRONG, TITLE};
use super::style::{asil_label, domain_class};
use crate::plan::{Asil, DomainPlan, Plan, Scheduler};
use crate::units::{TimeSpan, ranges};

const MARGIN: f64 = 28.0;
const NAME_W: f64 = 190.0;
/// Left edge of the columns.
const LEFT: f64 = MARGIN + NAME_W + BADGE + 100.0;
const DETAIL_W: f64 = 350.0;
const ROW: f64 = 32.0;
/// Columns drawn at most.
const MOST_CPUS: usize = 64;
/// Stands for all CPUs, where none is known.
const ANY: u32 = u32::MAX;
/// Rows drawn at most.
const MOST_DOMAINS: usize = 300;

/// A pool with its CPUs, as drawn.
struct Pool<'a> {
    /// None for Xen's first one.
    name: Option<&'a str>,
    scheduler: Scheduler,
    cpus: Vec<u32>,
}

/// What a domain does with a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    No,
    /// It may run there as on any CPU of its pool.
    Any,
    /// The document puts it there.
    Pinned,
    /// The document puts it there, and the CPU is in another pool.
    Astray,
}

/// Draws CPUs and who runs on them.
pub fn cpus(plan: &Plan) -> Picture {
    let (pools, hidden) = pools(plan);
    let columns: usize = pools.iter().map(|pool| pool.cpus.len()).sum();
    let column = match columns {
        0..=6 => 96.0,
        7..=12 => 72.0,
        13..=24 => 42.0,
        _ => 28.0,
    };
    let gaps = count(pools.len().saturating_sub(1)) * 10.0;
    let matrix = count(columns) * column + gaps;
    let width = (LEFT + matrix + 20.0 + DETAIL_W + MARGIN).max(900.0);
    let mut drawing = Drawing {
        plan,
        canvas: Canvas::new("cpus"),
        width,
        column,
        pools,
        y: 0.0,
    };
    drawing.title();
    drawing.header();
    drawing.rows();
    drawing.legend(hidden);
    let title = format!("CPUs of {}", plan.platform);
    let description = description(plan);
    let height = drawing.y + MARGIN;
    drawing.canvas.finish(width, height, &title, &description)
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(0.0, f64::from)
}

/// The pools with the CPUs that are known, and how many columns there is no room for.
fn pools(plan: &Plan) -> (Vec<Pool<'_>>, usize) {
    let machine = &plan.machine;
    let most = u32::try_from(MOST_CPUS * 4).unwrap_or(u32::MAX);
    let mut known: BTreeSet<u32> = (0..machine.cpus.unwrap_or(0).min(most)).collect();
    known.extend(machine.clusters.iter().flat_map(|cluster| &cluster.cpus));
    known.extend(plan.xen.cpupools.iter().flat_map(|pool| &pool.cpus));
    known.extend(plan.domains.iter().flat_map(|domain| &domain.cpus));
    let in_a_pool: BTreeSet<u32> = plan
        .xen
        .cpupools
        .iter()
        .flat_map(|pool| pool.cpus.iter().copied())
        .collect();
    let mut pools = vec![Pool {
        name: None,
        scheduler: plan.xen.scheduler,
        cpus: known.difference(&in_a_pool).copied().collect(),
    }];
    pools.extend(plan.xen.cpupools.iter().map(|pool| Pool {
        name: Some(&pool.name),
        scheduler: pool.scheduler,
        cpus: pool.cpus.clone(),
    }));
    let mut left = MOST_CPUS;
    let mut hidden = 0;
    for pool in &mut pools {
        let kept = pool.cpus.len().min(left);
        hidden += pool.cpus.len() - kept;
        pool.cpus.truncate(kept);
        left -= kept;
    }
    pools.retain(|pool| !pool.cpus.is_empty());
    if pools.is_empty() {
        pools.push(Pool {
            name: None,
            scheduler: plan.xen.scheduler,
            cpus: vec![ANY],
        });
    }
    (pools, hidden)
}

fn description(plan: &Plan) -> String {
    let mut text = String::new();
    for domain in by_level(plan).iter().map(|(_, domain)| domain) {
        text.push_str(&format!(
            "{} ({}): {}. ",
            domain.name,
            asil_label(domain.asil),
            detail(plan, domain)
        ));
    }
    text.trim_end().to_owned()
}

fn cpu_name(cpu: u32) -> String {
    match cpu {
        ANY => "any".to_owned(),
        cpu => cpu.to_string(),
    }
}

/// Domains with their numbers, the highest level first.
fn by_level(plan: &Plan) -> Vec<(usize, &DomainPlan)> {
    let mut domains: Vec<_> = plan.domains.iter().enumerate().collect();
    domains.sort_by_key(|(_, domain)| Reverse(domain.asil));
    domains.truncate(MOST_DOMAINS);
    domains
}

/// How a domain gets its time, in words.
fn detail(plan: &Plan, domain: &DomainPlan) -> String {
    let mut parts = Vec::new();
    parts.push(match (domain.cpus.as_slice(), &domain.cpupool) {
        ([], None) => "any CPU of its pool".to_owned(),
        ([], Some(pool)) => format!("any CPU of pool {pool}"),
        (cpus, None) => format!("on CPU {}", ranges(cpus)),
        (cpus, Some(pool)) => format!("on CPU {} of pool {pool}", ranges(cpus)),
    });
    if let Some(share) = &domain.rtds {
        let (budget, period) = (TimeSpan(share.budget_us), TimeSpan(share.period_us));
        parts.push(format!("{budget} in each {period}"));
    }
    if let Some(runtime) = domain.arinc653_runtime_us {
        parts.push(format!("{} in each major frame", TimeSpan(runtime)));
    }
    if scheduler(plan, domain) == Scheduler::Null {
        parts.push("a CPU per vCPU".to_owned());
    }
    parts.join(", ")
}

fn scheduler(plan: &Plan, domain: &DomainPlan) -> Scheduler {
    let mut pools = plan.xen.cpupools.iter();
    let pool = pools.find(|pool| Some(&pool.name) == domain.cpupool.as_ref());
    pool.map_or(plan.xen.scheduler, |pool| pool.scheduler)
}

fn cell(domain: &DomainPlan, pool: &Pool<'_>, cpu: u32) -> Cell {
    let at_home = domain.cpupool.as_deref() == pool.name;
    match (domain.cpus.contains(&cpu), at_home) {
        (true, true) => Cell::Pinned,
        (true, false) => Cell::Astray,
        (false, true) if domain.cpus.is_empty() => Cell::Any,
        (false, _) => Cell::No,
    }
}

struct Drawing<'a> {
    plan: &'a Plan,
    canvas: Canvas,
    width: f64,
    column: f64,
    pools: Vec<Pool<'a>>,
    y: f64,
}

impl Drawing<'_> {
    fn title(&mut self) {
        let title = format!("CPUs – {}", self.plan.platform);
        let room = self.width - 2.0 * MARGIN;
        self.canvas
            .text(TITLE, Anchor::Start, MARGIN, 42.0, room, &title);
        let cpus = self.pools.iter().flat_map(|pool| &pool.cpus);
        let known = cpus.filter(|cpu| **cpu != ANY).count();
        let cpus = match known {
            0 => "the document names no CPU".to_owned(),
            known => format!("{known} CPU(s)"),
        };
        let vcpus = self.plan.domains.iter();
        let vcpus = vcpus.fold(0_u64, |sum, domain| sum + u64::from(domain.vcpus));
        let line = format!(
            "{cpus}, {vcpus} vCPU(s) of {} domain(s)",
            self.plan.domains.len()
        );
        self.canvas
            .text(SMALL, Anchor::Start, MARGIN, 62.0, room, &line);
        self.y = 84.0;
    }

    /// Left edges of the columns, pool by pool.
    fn columns(&self) -> Vec<(usize, u32, f64)> {
        let mut columns = Vec::new();
        let mut x = LEFT;
        for (index, pool) in self.pools.iter().enumerate() {
            for cpu in &pool.cpus {
                columns.push((index, *cpu, x));
                x += self.column;
            }
            x += 10.0;
        }
        columns
    }

    fn header(&mut self) {
        let y = self.y;
        let columns = self.columns();
        for (index, pool) in self.pools.iter().enumerate() {
            let of_pool = |c: &&(usize, u32, f64)| c.0 == index;
            let Some((_, _, x)) = columns.iter().find(of_pool) else {
                continue;
            };
            let wide = count(pool.cpus.len()) * self.column;
            self.canvas.rounded("band", *x, y, wide, 40.0, 4.0);
            let (middle, room) = (x + wide / 2.0, wide - 4.0);
            let name = pool.name.unwrap_or("Pool-0");
            let canvas = &mut self.canvas;
            canvas.text(STRONG, Anchor::Middle, middle, y + 16.0, room, name);
            let scheduler = pool.scheduler.word();
            canvas.text(SMALL, Anchor::Middle, middle, y + 32.0, room, scheduler);
        }
        for (_, cpu, x) in &columns {
            let (middle, room) = (x + self.column / 2.0, self.column - 2.0);
            self.canvas.text(
                HEAD,
                Anchor::Middle,
                middle,
                y + 60.0,
                room,
                &cpu_name(*cpu),
            );
        }
        // One name for neighbours of one cluster.
        let mut runs: Vec<(usize, Option<usize>, f64, f64)> = Vec::new();
        for (pool, cpu, x) in &columns {
            let mut clusters = self.plan.machine.clusters.iter();
            let cluster = clusters.position(|cluster| cluster.cpus.contains(cpu));
            match runs.last_mut() {
                Some((p, c, _, end)) if p == pool && *c == cluster => *end = x + self.column,
                _ => runs.push((*pool, cluster, *x, x + self.column)),
            }
        }
        for (_, cluster, left, right) in runs {
            let cluster = cluster.and_then(|index| self.plan.machine.clusters.get(index));
            let Some(cluster) = cluster else { continue };
            let text = match &cluster.core {
                Some(core) => core.rsplit(',').next().unwrap_or_default(),
                None => &cluster.name,
            };
            let canvas = &mut self.canvas;
            canvas.line("rule", left + 4.0, y + 79.0, right - 4.0, y + 79.0);
            let (middle, room) = ((left + right) / 2.0, right - left - 4.0);
            canvas.text(SMALL, Anchor::Middle, middle, y + 75.0, room, text);
        }
        let base = y + 60.0;
        let canvas = &mut self.canvas;
        canvas.text(HEAD, Anchor::Start, MARGIN, base, NAME_W, "domain");
        let x = MARGIN + NAME_W + BADGE + 12.0;
        canvas.text(HEAD, Anchor::Start, x, base, 80.0, "vCPUs");
        let x = self.width - MARGIN - DETAIL_W;
        canvas.text(HEAD, Anchor::Start, x, base, DETAIL_W, "time");
        self.y = y + 84.0;
    }

    fn rows(&mut self) {
        let columns = self.columns();
        let domains = by_level(self.plan);
        let top = self.y;
        for number in (0..domains.len()).step_by(2) {
            let (y, wide) = (top + count(number) * ROW, self.width - 2.0 * MARGIN + 16.0);
            self.canvas.rounded("band", MARGIN - 8.0, y, wide, ROW, 3.0);
        }
        for (_, cpu, x) in &columns {
            if self.levels(*cpu).len() > 1 {
                let tall = count(domains.len()) * ROW;
                self.canvas.rect("cross-band", *x, top, self.column, tall);
            }
        }
        for (index, domain) in domains {
            let y = self.y;
            let (middle, base) = (y + ROW / 2.0, y + ROW / 2.0 + 4.2);
            let canvas = &mut self.canvas;
            let name = domain.name.as_str();
            canvas.text(STRONG, Anchor::Start, MARGIN, base, NAME_W - 10.0, name);
            canvas.badge(MARGIN + NAME_W, middle, domain.asil);
            let vcpus = domain.vcpus.to_string();
            let x = MARGIN + NAME_W + BADGE + 12.0;
            canvas.text(NORMAL, Anchor::Start, x, base, 60.0, &vcpus);
            for (pool, cpu, x) in &columns {
                let Some(pool) = self.pools.get(*pool) else {
                    continue;
                };
                mark(
                    &mut self.canvas,
                    cell(domain, pool, *cpu),
                    index,
                    [x + 3.0, y + 5.0, self.column - 6.0, ROW - 10.0],
                );
            }
            let x = self.width - MARGIN - DETAIL_W;
            let text = detail(self.plan, domain);
            self.canvas
                .text(SMALL, Anchor::Start, x, base, DETAIL_W, &text);
            self.y += ROW;
        }
        self.y += 8.0;
    }

    /// The levels of the domains that may run on a CPU.
    fn levels(&self, cpu: u32) -> BTreeSet<Asil> {
        let mut levels = BTreeSet::new();
        for pool in self.pools.iter().filter(|pool| pool.cpus.contains(&cpu)) {
            let runs = |domain: &&DomainPlan| cell(domain, pool, cpu) != Cell::No;
            levels.extend(self.plan.domains.iter().filter(runs).map(|d| d.asil));
        }
        levels
    }

    fn legend(&mut self, hidden: usize) {
        let y = self.y + 22.0;
        let entries = [
            (Cell::Pinned, "put there by the document"),
            (Cell::Any, "as any CPU of its pool"),
            (Cell::Astray, "put there, but in another pool"),
        ];
        let mut x = MARGIN;
        for (kind, text) in entries {
            mark(&mut self.canvas, kind, 0, [x, y - 11.0, 24.0, 13.0]);
            self.canvas
                .text(SMALL, Anchor::Start, x + 32.0, y, 190.0, text);
            x += 236.0;
        }
        self.y = y + 22.0;
        let room = self.width - 2.0 * MARGIN;
        let mut shared: Vec<(BTreeSet<Asil>, Vec<u32>)> = Vec::new();
        for (_, cpu, _) in self.columns() {
            let levels = self.levels(cpu);
            if levels.len() < 2 {
                continue;
            }
            match shared.iter_mut().find(|(known, _)| *known == levels) {
                Some((_, cpus)) => cpus.push(cpu),
                None => shared.push((levels, vec![cpu])),
            }
        }
        for (levels, cpus) in shared {
            let levels: Vec<_> = levels
                .iter()
                .rev()
                .map(|level| asil_label(*level))
                .collect();
            let which = match cpus.as_slice() {
                [ANY] => "All CPUs".to_owned(),
                cpus => format!("CPU {}", ranges(cpus)),
            };
            let text = format!("{which}: shared by {}", levels.join(" and "));
            self.canvas
                .text(CROSS, Anchor::Start, MARGIN, self.y, room, &text);
            self.y += 17.0;
        }
        let more = self.plan.domains.len().saturating_sub(MOST_DOMAINS);
        for (count, what) in [(hidden, "CPUs"), (more, "domains")] {
            if count > 0 {
                let text = format!("{count} more {what} are not drawn.");
                self.canvas
                    .text(SMALL, Anchor::Start, MARGIN, self.y, room, &text);
                self.y += 17.0;
            }
        }
        self.y -= 12.0;
    }
}

fn mark(canvas: &mut Canvas, cell: Cell, domain: usize, [x, y, w, h]: [f64; 4]) {
    match cell {
        Cell::No => {}
        Cell::Any => {
            let class = format!("{} faint", domain_class(domain));
            canvas.rounded(&class, x, y, w, h, 4.0);
            canvas.rounded("open", x, y, w, h, 4.0);
        }
        Cell::Pinned => canvas.rounded(&domain_class(domain), x, y, w, h, 4.0),
        Cell::Astray => {
            canvas.line(
                "cross",
                x + w / 2.0 - 5.0,
                y + 1.0,
                x + w / 2.0 + 5.0,
                y + h - 1.0,
            );
            canvas.line(
                "cross",
                x + w / 2.0 - 5.0,
                y + h - 1.0,
                x + w / 2.0 + 5.0,
                y + 1.0,
            );
        }
    }
}
