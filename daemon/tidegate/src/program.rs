//! A program that gets JSON on stdin: what alerts and gates may call. There is no shell in between.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The most of a program's output that is kept; the rest is read and dropped, so that the program does not block.
const OUTPUT_BYTES_MAX: u64 = 4 * 1024;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The beginning of what it wrote, stdout before stderr, without line ends around it.
    pub output: String,
}

/// Why a program was not run to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot run `{program}`: {why}")]
pub struct ProgramError {
    program: String,
    why: String,
}

/// Runs `argv` with `input` and a line end on its stdin. When the future is dropped the program is killed: that is how
/// a time-out reaches it.
///
/// # Errors
/// When there is nothing to run or the system does not start it.
pub async fn run(argv: &[String], input: &serde_json::Value) -> Result<Ended, ProgramError> {
    let refused = |program: &str, why: String| ProgramError { program: program.to_owned(), why };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(refused("", "the list of program and arguments is empty".to_owned()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| refused(program, error.to_string()))?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not care for its input closes it; that is its right.
            drop(stdin.write_all(format!("{input}\n").as_bytes()).await);
        }
    };
    let ((), stdout, stderr, status) = tokio::join!(feed, collect(stdout), collect(stderr), child.wait());
    let status = status.map_err(|error| refused(program, error.to_string()))?;
    let output = format!("{}\n{}", stdout.trim(), stderr.trim()).trim().to_owned();
    Ok(Ended { code: status.code(), output })
}

async fn collect(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    if (&mut stream).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept).await.is_ok() {
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
