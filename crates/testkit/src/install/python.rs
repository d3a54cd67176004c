//! Python Bindu, in a virtual environment of a Python that is new enough.

use super::{installed, run};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The version that we are compatible with.
pub const PYTHON_BINDU: &str = "2026.36.7";

/// The Python of an environment with Python Bindu; `None` where no Python is new enough. In CI that is a failure, since
/// a skipped test proves nothing.
///
/// # Panics
/// In CI without a Python that is new enough, and where the installation fails.
#[must_use]
pub fn python_bindu() -> Option<PathBuf> {
    let Some(python) = python() else {
        assert!(std::env::var_os("CI").is_none(), "Python Bindu's tests need Python 3.12 or later");
        return None;
    };
    let place =
        installed(&format!("python-bindu-{PYTHON_BINDU}"), "installing Python Bindu (126 packages)", |to| {
            run(Command::new(&python).args(["-m", "venv", "--copies"]).arg(to.join("venv")));
            let pip = to.join("venv/bin/python");
            run(Command::new(pip).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                &format!("bindu=={PYTHON_BINDU}"),
            ]));
        });
    Some(place.join("venv/bin/python"))
}

/// A Python of at least 3.12: on the PATH, else one of pyenv's.
pub(super) fn python() -> Option<PathBuf> {
    let on_path = ["python3.12", "python3.13", "python3.14", "python3"].map(PathBuf::from);
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let mut pyenv: Vec<PathBuf> = root
        .and_then(|root| fs::read_dir(root.join("versions")).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/python3"))
        .collect();
    pyenv.sort();
    on_path.into_iter().chain(pyenv).find(|python| is_new_enough(python))
}

/// Asks it: a shim of pyenv's on the PATH may stand for a Python that is not there.
fn is_new_enough(python: &Path) -> bool {
    let question = "import sys, venv; sys.exit(sys.version_info < (3, 12))";
    let mut command = Command::new(python);
    command.args(["-c", question]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
