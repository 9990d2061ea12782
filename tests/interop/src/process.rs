//! Child processes whose lines are read as they come, and which never outlive their handle.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a child said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
    /// It did not end in time, and was killed.
    pub(crate) killed: bool,
}

/// A running child. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    other: Option<JoinHandle<String>>,
}

/// Which of its two streams is read line by line; the other one is kept for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    OfStdout,
    OfStderr,
}

/// A command that inherits nothing from this process's environment but the search path: no certificate bundle, proxy or
/// debug switch of the machine is at work in the tests.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

impl Process {
    pub(crate) fn start(mut command: Command, lines: Lines) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}; `tests/interop/run` installs it"))?;
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let (watched, other) = match lines {
            Lines::OfStdout => (stdout, stderr),
            Lines::OfStderr => (stderr, stdout),
        };
        Ok(Self { child, lines: read_lines(watched), other: Some(std::thread::spawn(move || read_all(other))) })
    }

    /// The next line, or `None` if the child closed its output.
    pub(crate) fn next_line(&self, limit: Duration) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("it said nothing for {} s", limit.as_secs())),
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Waits for its end, and kills it when `limit` has passed; what it said until then is kept.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Ended, String> {
        let deadline = Instant::now() + limit;
        let mut stdout = Vec::new();
        let in_time = loop {
            match self.next_line(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(line)) => stdout.push(line),
                // Only its end closes the output.
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if !in_time {
            self.kill();
        }
        let status = self.child.wait().map_err(|error| format!("cannot wait for its end: {error}"))?;
        let stderr = self.other.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Ended { status, stdout, stderr, killed: !in_time })
    }

    fn kill(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(pipe: Option<Box<dyn Read + Send>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn read_all(pipe: Option<Box<dyn Read + Send>>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A broken pipe ends it as its end does.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Process {
        let mut command = command("sh");
        command.args(["-c", script]);
        Process::start(command, Lines::OfStdout).unwrap()
    }

    #[test]
    fn an_end_has_its_code_and_both_streams() {
        let ended = shell("echo one; echo two; echo why >&2; exit 3").finish(LIMIT).unwrap();
        assert!(!ended.killed);
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.stdout, ["one", "two"]);
        assert_eq!(ended.stderr, "why\n");
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_and_what_it_said_is_kept() {
        let child = shell(r"echo stuck >&2; printf 'one\ntwo\n'; exec sleep 600");
        // Both lines come at once, so the second one is there too.
        assert_eq!(child.next_line(LIMIT), Ok(Some("one".to_owned())));
        let ended = child.finish(Duration::from_secs(1)).unwrap();
        assert!(ended.killed);
        assert_eq!(ended.stdout, ["two"]);
        assert_eq!(ended.stderr, "stuck\n");
    }

    #[test]
    fn a_child_dies_with_its_handle() {
        let process = shell("echo $$; exec sleep 600");
        let pid = process.next_line(LIMIT).unwrap().unwrap();
        drop(process);
        let still_there = Command::new("sh").args(["-c", &format!("kill -0 {pid} 2>/dev/null")]).status().unwrap();
        assert!(!still_there.success(), "process {pid} is still there");
    }

    #[test]
    fn nothing_of_the_environment_is_inherited_but_the_search_path() {
        let mut command = command("env");
        command.env("ONE", "1");
        let mut names: Vec<_> = Process::start(command, Lines::OfStdout).unwrap().finish(LIMIT).unwrap().stdout;
        names.iter_mut().for_each(|line| line.truncate(line.find('=').unwrap_or(line.len())));
        names.sort();
        assert_eq!(names, ["ONE", "PATH"]);
    }
}
