//! Messages to completed tasks, by store, beside Python Bindu on the stores that it has.

use crate::bench::{
    AUTHOR,
    message::{Rate, measured, ratio, send_bindu},
};
use bindu_testkit::{AgentSetup, Postgres, PythonBindu};

/// How often as many as Python Bindu are wanted.
const WANTED: f64 = 10.0;

/// Whether all rounds may be believed.
pub(super) async fn run() -> bool {
    let binary = crate::release_binary();
    println!(
        "message/send to completed, no authentication, Python Bindu's dialect (a send, then looks at the task)\n"
    );
    let ours = Postgres::start_synced();
    let disk = || tempfile::tempdir().expect("a directory");
    let disks = [disk(), disk(), disk()];
    let stores = [
        ("ours, memory", vec![("STORAGE_TYPE", "memory")]),
        ("ours, SQLite", vec![]),
        ("ours, PostgreSQL", vec![("DATABASE_URL", ours.dsn.as_str())]),
    ];
    let mut rates = Vec::new();
    for ((name, environment), disk) in stores.into_iter().zip(&disks) {
        let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, "Storage").set("RUST_LOG", "warn");
        let variables = environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let agent = setup.set_all(variables).start().await;
        measured(&format!("{name} (warm-up)"), &agent.url, send_bindu);
        rates.push(measured(name, &agent.url, send_bindu));
        agent.kill();
    }
    drop(ours);
    let [in_memory, in_file, in_postgres] = rates[..] else { return false };
    let theirs = Postgres::start_synced();
    // What is behind the `?` is for other drivers.
    let url = theirs.dsn.split('?').next().unwrap_or_default().to_owned();
    let on_postgres = [("STORAGE_TYPE", "postgres"), ("DATABASE_URL", url.as_str())];
    let on_postgres = on_postgres.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let in_python_memory = python("Python Bindu, memory", &[]).await;
    let in_python_postgres = python("Python Bindu, PostgreSQL", &on_postgres).await;
    println!();
    let mut is_good = true;
    if let (Some(memory), Some(postgres)) = (in_python_memory, in_python_postgres) {
        for (name, ours, theirs) in [
            ("memory : memory", in_memory, memory),
            ("SQLite : memory", in_file, memory),
            ("PostgreSQL : PostgreSQL", in_postgres, postgres),
        ] {
            is_good &= ratio(name, ours, theirs, WANTED);
        }
    }
    println!();
    is_good
}

async fn python(name: &str, environment: &[(String, String)]) -> Option<Rate> {
    let disk = tempfile::tempdir().expect("a directory");
    let Some(python) = PythonBindu::start(disk.path(), AUTHOR, "Storage Python", environment).await else {
        println!("{name}: skipped, there is no Python for it");
        return None;
    };
    measured(&format!("{name} (warm-up)"), &python.url, send_bindu);
    Some(measured(name, &python.url, send_bindu))
}
