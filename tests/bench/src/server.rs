//! What the server uses, out of `/proc`.

use std::fs;

use serde_json::Value;

/// A process.
#[derive(Debug)]
pub struct Server {
    pid: u32,
}

/// Processor time in nanoseconds, and memory in kB.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    nanos: u64,
    resident: u64,
}

impl Server {
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Open files.
    pub fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// The process and its children: servers that fork are one server.
    pub fn look(&self) -> Look {
        let mut pids = vec![self.pid];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            next += 1;
        }
        let mut look = Look { nanos: 0, resident: 0 };
        for pid in pids {
            look.nanos += nanos(pid).unwrap_or(0);
            look.resident += resident(pid).unwrap_or(0);
        }
        look
    }
}

impl Look {
    /// Processor time between two looks, in microseconds.
    pub fn micros_since(&self, before: &Self) -> u64 {
        self.nanos.saturating_sub(before.nanos) / 1000
    }

    /// Memory in kB.
    pub fn resident(&self) -> u64 {
        self.resident
    }
}

/// Time on a processor in nanoseconds, of all threads: exact where the clock ticks of `stat` are
/// sampled.
fn nanos(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(tasks.flatten().filter_map(of).sum())
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Adds what was used since `before`.
pub fn add(line: &mut Value, server: Option<&Server>, before: Option<Look>) {
    if let (Some(server), Some(before)) = (server, before) {
        let now = server.look();
        line["cpu_us"] = now.micros_since(&before).into();
        line["rss_kb"] = now.resident.into();
    }
}

/// Adds what each of `count` cost, in microseconds.
pub fn add_each(line: &mut Value, count: usize) {
    if let Some(all) = line["cpu_us"].as_f64().filter(|_| count > 0) {
        line["cpu_us_each"] = (all / count as f64 * 100.0).round().into();
        line["cpu_us_each"] = (line["cpu_us_each"].as_f64().unwrap_or(0.0) / 100.0).into();
    }
}
