//! Figures: CPU time, memory, medians, and verdicts.

use std::time::Duration;

/// CPU time that this thread has used. `/proc/thread-self/schedstat` would be a tick of the scheduler late, some milliseconds.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process's memory");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    let kib: u64 = line.split_whitespace().next().and_then(|field| field.parse().ok()).expect("a number of KiB");
    kib * 1024
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints whether a target is met, and returns it.
pub(crate) fn verdict(target: &str, value: f64, limit: f64, unit: &str) -> bool {
    let met = value <= limit;
    println!("{}  {target}: {value:.3} {unit}, limit {limit:.3} {unit}", if met { "PASS" } else { "FAIL" });
    met
}
