//! The `tidegate` program: parses the command line, runs one verb, and ends with that verb's exit code.

use std::process::ExitCode;

use tidegate::cli;

/// The proxy allocates on every request; mimalloc keeps that off the profile where the system's allocator does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
