//! One program under test or beside it: started in a process group of its own, measured, and gone when the value is.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use crate::clock;

/// How often something is looked at that cannot be awaited: a line in a log, the end of a process.
const LOOK: Duration = Duration::from_millis(10);

/// How long a program may take to end after SIGTERM before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The kernel counts a process's time in hundredths of a second on every platform we run on.
const TICKS_A_SECOND: u64 = 100;

/// A running program. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// What a process and its children have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time since they started.
    pub cpu: Duration,
    /// Resident memory, in bytes; pages shared between them are counted once.
    pub memory_bytes: u64,
    /// Open file descriptors of all of them.
    pub descriptors: usize,
}

impl Process {
    /// Starts `command` with its output in `folder/NAME.log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Self {
        use std::os::unix::process::CommandExt as _;
        let log = folder.join(format!("{name}.log"));
        let out = fs::File::options().create(true).append(true).open(&log).expect("a log in the caller's folder");
        let err = out.try_clone().expect("one more descriptor");
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn().unwrap_or_else(|why| {
                panic!("cannot start {name} ({command:?}): {why}; `tests/run` installs what tests need")
            });
        Self { child, name: name.to_owned(), log, ended: None }
    }

    /// Its process id, which is its group's too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = fs::File::open(&self.log) {
            // A log that cannot be read is shown as empty: this is for messages to people.
            let _ = file.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until `ready` holds.
    ///
    /// # Panics
    /// If the program ends first or `within` passes; the message has its log.
    pub fn wait_until(&mut self, what: &str, within: Duration, mut ready: impl FnMut(&Self) -> bool) {
        let start = clock::now();
        loop {
            if ready(self) {
                return;
            }
            if let Some(status) = self.try_ended() {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.log());
            }
            assert!(start.elapsed() < within, "{}: no {what} within {within:?}:\n{}", self.name, self.log());
            thread::sleep(LOOK);
        }
    }

    /// Waits until the log has a line with `text` and returns that line.
    ///
    /// # Panics
    /// As [`Process::wait_until`].
    pub fn wait_for_line(&mut self, text: &str, within: Duration) -> String {
        let mut found = None;
        self.wait_until(&format!("line with `{text}`"), within, |process| {
            found = process.log().lines().find(|line| line.contains(text)).map(str::to_owned);
            found.is_some()
        });
        found.expect("waited for it")
    }

    /// Waits until something accepts connections on `port`.
    ///
    /// # Panics
    /// As [`Process::wait_until`].
    pub fn wait_for_port(&mut self, port: u16, within: Duration) {
        self.wait_until("open port", within, |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`, `KILL`, `HUP`) to the program and its children.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), "--", &format!("-{}", self.id())]).output();
        let sent = sent.expect("`kill` is a program everywhere");
        assert!(sent.status.success(), "kill -{name} {}: {}", self.name, String::from_utf8_lossy(&sent.stderr));
    }

    /// Its exit status, if it has ended.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("our own child");
        }
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `within`.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let start = clock::now();
        loop {
            if let Some(status) = self.try_ended() {
                return status;
            }
            assert!(start.elapsed() < within, "{} did not end within {within:?}:\n{}", self.name, self.log());
            thread::sleep(LOOK);
        }
    }

    /// Asks it to end, and returns how it did.
    ///
    /// # Panics
    /// If it takes longer than ten seconds.
    pub fn stop(&mut self) -> ExitStatus {
        if self.try_ended().is_none() {
            self.signal("TERM");
        }
        self.wait(STOP_MAX)
    }

    /// What it and its children have used so far.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for id in group(self.id()) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
            // The name in brackets may hold anything; the fields after it are numbers: utime is the 12th, stime the 13th.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks: u64 =
                fields.get(11..13).map_or(0, |times| times.iter().filter_map(|time| time.parse::<u64>().ok()).sum());
            usage.cpu += Duration::from_millis(ticks * 1000 / TICKS_A_SECOND);
            usage.memory_bytes += proportional_memory(id).unwrap_or(0);
            usage.descriptors += fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
        }
        usage
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.try_ended().is_none() {
            // Stopped processes (SIGSTOP) die of KILL as well. A failure leaves nothing better to do.
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.id())]).output();
            let _ = self.child.wait();
        }
    }
}

/// The processes of a group.
fn group(leader: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![leader] };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let group = stat.rsplit(')').next().unwrap_or_default().split_whitespace().nth(2).map(str::to_owned);
            group.and_then(|group| group.parse::<u32>().ok()) == Some(leader)
        })
        .collect()
}

/// Resident memory in bytes, where a page shared by n processes counts 1/n for each.
fn proportional_memory(id: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The built `tidegate` of the same profile as the running test.
///
/// # Panics
/// If it has not been built.
pub fn built_binary() -> PathBuf {
    let test = env::current_exe().expect("the running program has a path");
    // target/PROFILE/deps/TEST or target/PROFILE/examples/NAME
    let profile = test.ancestors().nth(2).expect("cargo's folders").to_owned();
    let binary = profile.join("tidegate");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --workspace --bins` in the same profile first",
        binary.display()
    );
    binary
}

/// Where `tests/run` keeps what it installs: `tests` in cargo's target folder.
///
/// # Panics
/// If `tests/run` has not made it.
pub fn state_folder() -> PathBuf {
    let test = env::current_exe().expect("the running program has a path");
    let folder = test.ancestors().nth(3).expect("cargo's folders").join("tests");
    assert!(folder.exists(), "{} is missing: `tests/run` installs what tests need", folder.display());
    folder
}
