//! The chart as it is: installed, tested, upgraded, rolled back and taken away by the real helm.

use crate::{Agent, Shared, everybody, world::AUTHOR};
use bindu_testkit::install;
use std::{
    fs,
    process::{Command, Output},
};

fn helm(shared: &Shared, arguments: &[&str]) -> Output {
    let mut command: Command = shared.cluster().command(install::cluster_tools().join("helm"));
    command.args(["--namespace", "agents"]).args(arguments);
    // It keeps notes of repositories, and there is none.
    command
        .env("HELM_CACHE_HOME", "/run/helm")
        .env("HELM_CONFIG_HOME", "/run/helm")
        .env("HELM_DATA_HOME", "/run/helm");
    command.output().unwrap()
}

fn good(output: Output) -> String {
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_tested_upgraded_rolled_back_and_taken_away() {
    let Some((_turn, shared)) = everybody().await else { return };
    let agent = Agent::new("chart");
    shared.introduce(&agent);
    let chart = shared.path("helm/bindu-agent").display().to_string();
    let values = tempfile::NamedTempFile::new().unwrap();
    let write = |description: &str| {
        let text = format!(
            "agent: {{name: {}, author: {AUTHOR}, url: \"https://chart-agent.example.com\", description: {description}}}\n",
            agent.title
        );
        fs::write(values.path(), text).unwrap();
    };
    let file = values.path().display().to_string();
    write("first");
    let installed =
        good(helm(shared, &["install", "chart-agent", &chart, "--values", &file, "--wait", "--timeout=4m"]));
    assert!(!installed.contains("Warning"), "{installed}");
    shared.healthy(&agent).await;
    let before = shared.identity(&agent);
    assert_eq!(before["version"], 1);
    let tested = good(helm(shared, &["test", "chart-agent", "--timeout=4m"]));
    assert!(tested.contains("Phase:          Succeeded"), "{tested}");

    let pods = shared.pods(&agent);
    write("second");
    good(helm(shared, &["upgrade", "chart-agent", &chart, "--values", &file, "--wait", "--timeout=4m"]));
    assert!(shared.pods(&agent).iter().any(|pod| !pods.contains(pod)), "changed settings roll the pods");
    let settings = |expected: &str| {
        let map = shared.cluster().object(&["--namespace", "agents", "configmap", "chart-agent-settings"]);
        assert_eq!(map["data"]["BINDU_DESCRIPTION"], expected);
    };
    settings("second");
    good(helm(shared, &["rollback", "chart-agent", "--wait", "--timeout=4m"]));
    settings("first");
    shared.healthy(&agent).await;
    assert_eq!(shared.identity(&agent), before);
    assert_eq!(shared.clients(before["did"].as_str().unwrap()).await, 1);

    good(helm(shared, &["uninstall", "chart-agent", "--wait", "--timeout=4m"]));
    let kinds = "deployment,service,configmap,serviceaccount,networkpolicy,poddisruptionbudget,ingress";
    let selector = "app.kubernetes.io/instance=chart-agent";
    let left = shared.cluster().kubectl(&[
        "--namespace",
        "agents",
        "get",
        kinds,
        "--selector",
        selector,
        "--output",
        "name",
    ]);
    assert_eq!(left, "", "nothing of it is left");
}
