//! What Linux tells of this process (proc(5)), under the names that all of Prometheus' clients use.

use super::text::{Text, Type};
use nix::sys::resource::{Resource, getrlimit};
use std::fs;

/// What `/proc/self/stat` and `/proc/stat` tell.
#[derive(Debug, PartialEq)]
struct Told {
    cpu_seconds: f64,
    start_time_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

/// Adds what can be had; what cannot is left out.
pub fn tell(text: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64);
    if let Some(told) = read(&stat, &system, ticks, page) {
        let (cpu, started) = (told.cpu_seconds, told.start_time_seconds);
        text.one("process_cpu_seconds_total", Type::Counter, "User and system time spent.", cpu);
        text.one("process_start_time_seconds", Type::Gauge, "When the process started, since 1970.", started);
        let (virtual_bytes, resident) = (told.virtual_bytes, told.resident_bytes);
        text.one("process_virtual_memory_bytes", Type::Gauge, "Address space in use.", virtual_bytes);
        text.one("process_resident_memory_bytes", Type::Gauge, "Memory in use.", resident);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = open.count().saturating_sub(1);
        text.one("process_open_fds", Type::Gauge, "File descriptors open.", open);
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        text.one("process_max_fds", Type::Gauge, "File descriptors that may be open.", most);
    }
}

fn read(stat: &str, system: &str, ticks: u64, page: u64) -> Option<Told> {
    // The second field is the program's name in brackets, which may hold blanks and brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let booted: u64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let seconds = |count: u64| count as f64 / ticks.max(1) as f64;
    Some(Told {
        cpu_seconds: seconds(field(14)?.saturating_add(field(15)?)),
        start_time_seconds: booted as f64 + seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(page),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_no_field() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 1000 8192 3 18446744073709551615 1";
        let told = read(stat, "cpu 1\nbtime 1000000\nprocesses 3\n", 100, 4096);
        let want =
            Told { cpu_seconds: 2.0, start_time_seconds: 1_000_010.0, virtual_bytes: 8192, resident_bytes: 12_288 };
        assert_eq!(told, Some(want));
        assert_eq!(read("7 (cut", "btime 1", 100, 4096), None);
        assert_eq!(read("7 (short) S 1", "btime 1", 100, 4096), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut text = Text::default();
        tell(&mut text);
        let text = text.into_string();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 1.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_start_time_seconds") > 1.6e9);
    }
}
