//! Counters as OpenMetrics text (version 1.0.0), for Prometheus and its like.
//!
//! Counters keep the names they have everywhere else, with what they belong to in front (`avps_device_`,
//! `avps_worker_`) and the `_total` that the format wants behind.

use std::collections::BTreeMap;
use std::fmt::Write;

use daemon::openmetrics::{labels, name as metric_name};

use crate::{Counters, Report};

/// Samples of one metric: labels and value.
type Samples = Vec<(String, u64)>;

/// The report as OpenMetrics text, with its end mark.
pub fn openmetrics(report: &Report) -> String {
    let mut counters: BTreeMap<String, Samples> = BTreeMap::new();
    let mut gauges: BTreeMap<&str, Samples> = BTreeMap::new();
    let mut add = |prefix: &str, labels: &str, values: &Counters| {
        for (name, value) in values {
            let name = metric_name(&format!("avps_{prefix}_{name}"));
            let samples = counters.entry(name).or_default();
            samples.push((labels.to_owned(), *value));
        }
    };
    for guest in &report.guests {
        let domain = labels(&[
            ("domid", &guest.domid.to_string()),
            ("domain", guest.name.as_deref().unwrap_or_default()),
        ]);
        add("worker", &domain, &guest.counters);
        let restarts = Counters::from([("restarts".to_owned(), guest.restarts)]);
        add("worker", &domain, &restarts);
        let up = u64::from(guest.worker_pid.is_some() && !guest.stale);
        gauges
            .entry("avps_worker_up")
            .or_default()
            .push((domain.clone(), up));
        for device in &guest.devices {
            let device_labels = labels(&[
                ("domid", &guest.domid.to_string()),
                ("domain", guest.name.as_deref().unwrap_or_default()),
                ("device", &device.path),
                ("memory", device.memory.as_deref().unwrap_or_default()),
            ]);
            add("device", &device_labels, &device.counters);
            let connected = u64::from(device.state == "connected");
            gauges
                .entry("avps_device_connected")
                .or_default()
                .push((device_labels, connected));
        }
    }
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "# TYPE avps_backend info\navps_backend_info{} 1",
        labels(&[("version", &report.version)])
    );
    for (name, samples) in &gauges {
        let _ = writeln!(text, "# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    for (name, samples) in &counters {
        let _ = writeln!(text, "# TYPE {name} counter");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}_total{labels} {value}");
        }
    }
    text.push_str("# EOF\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn the_text_has_each_metric_once_with_its_samples_together() {
        let mut report = example();
        let mut second = report.guests[0].clone();
        second.domid = 4;
        second.name = None;
        second.worker_pid = None;
        report.guests.push(second);
        let expected = "\
# TYPE avps_backend info
avps_backend_info{version=\"0.1.0\"} 1
# TYPE avps_device_connected gauge
avps_device_connected{domid=\"3\",domain=\"cluster\",device=\"virtio/3/0\",memory=\"grant\"} 1
avps_device_connected{domid=\"4\",domain=\"\",device=\"virtio/3/0\",memory=\"grant\"} 1
# TYPE avps_worker_up gauge
avps_worker_up{domid=\"3\",domain=\"cluster\"} 1
avps_worker_up{domid=\"4\",domain=\"\"} 0
# TYPE avps_device_bytes_read counter
avps_device_bytes_read_total{domid=\"3\",domain=\"cluster\",device=\"virtio/3/0\",memory=\"grant\"} 4096
avps_device_bytes_read_total{domid=\"4\",domain=\"\",device=\"virtio/3/0\",memory=\"grant\"} 4096
";
        let text = openmetrics(&report);
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("# EOF\n"));
        let types: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let mut unique = types.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(types.len(), unique.len());
    }

    #[test]
    fn a_name_cannot_break_out_of_its_label() {
        let mut report = example();
        report.guests[0].name = Some("a\"} 1\n# EOF\\".into());
        let text = openmetrics(&report);
        assert!(text.contains(r#"domain="a\"} 1\n# EOF\\""#), "{text}");
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("# EOF"))
                .count(),
            1
        );
    }
}
