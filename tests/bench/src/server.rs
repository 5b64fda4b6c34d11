//! What the server uses, out of `/proc`.

use std::fs;

use serde_json::Value;

/// A process.
#[derive(Debug)]
pub struct Server {
    pid: u32,
}

/// Processor time in clock ticks, and memory in kB.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    ticks: u64,
    resident: u64,
}

/// Clock ticks per second as Linux reports them to processes (USER_HZ), on every architecture.
const TICKS: u64 = 100;

impl Server {
    pub fn new(pid: u32) -> Self {
        Self { pid }
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
        let mut look = Look { ticks: 0, resident: 0 };
        for pid in pids {
            look.ticks += ticks(pid).unwrap_or(0);
            look.resident += resident(pid).unwrap_or(0);
        }
        look
    }
}

/// User and system time: fields 14 and 15 of `stat`, counted behind the name in parentheses.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
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
        line["cpu_ms"] = ((now.ticks.saturating_sub(before.ticks)) * 1000 / TICKS).into();
        line["rss_kb"] = now.resident.into();
    }
}
