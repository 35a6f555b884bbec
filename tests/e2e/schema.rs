//! The JSON Schema of policy files, as an editor's validator reads it: one that no one here wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tidegate_tests::servers::{built_binary, search::schema_validator};

/// Holds files against the schema that the built program prints.
fn validate(folder: &Path, files: &[PathBuf]) -> Output {
    let schema = folder.join("schema.json");
    let printed = Command::new(built_binary()).args(["policy", "schema"]).output().expect("the program runs");
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    fs::write(&schema, printed.stdout).expect("the folder can be written");
    schema_validator().arg(schema).args(files).output().expect("tests/run has installed the validator")
}

fn lines(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Proves that the schema is one, and that every example policy is valid by it: an editor marks nothing in them.
#[test]
fn every_example_is_valid_by_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut files: Vec<PathBuf> = fs::read_dir(policies).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 6, "{files:?}");
    let output = validate(folder.path(), &files);
    assert!(output.status.success(), "{}", lines(&output));
    assert_eq!(lines(&output).matches(": valid").count(), files.len(), "{}", lines(&output));
}

/// Proves that the schema says where a policy is wrong: an unknown key, a word that does not exist, a number without a
/// unit.
#[test]
fn a_bad_policy_is_not_valid_by_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, "service = \"a\"\nstep = 1\n[shift]\nwrites = \"both\"\nbake_min = 10\n").unwrap();
    let output = validate(folder.path(), &[file]);
    assert_eq!(output.status.code(), Some(1), "{}", lines(&output));
    for wrong in ["'step'", "$.shift.writes", "$.shift.bake_min"] {
        assert!(lines(&output).contains(wrong), "`{wrong}` is missing in {}", lines(&output));
    }
}
