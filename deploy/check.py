#!/usr/bin/env python3
"""Holds deploy/ to what it promises: everything renders, is valid for Kubernetes, and agrees with the code and the docs.

    python3 deploy/check.py                  # everything
    python3 deploy/check.py --rules FILE     # writes the alerts' groups, for `promtool test rules`

Needs PyYAML, kubernetes-validate, `kubectl`, `helm` and `hadolint`: on the path, or below $CLUSTER_TOOLS (`lib`, `lib/bin`,
`helm`). With $BINDU_BINARY, that program reads each agent's settings. No cluster and no network.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm" / "bindu-agent"
EXAMPLE = KUSTOMIZE / "overlays" / "example"

TOOLS = os.environ.get("CLUSTER_TOOLS")
if TOOLS:
    sys.path.insert(0, f"{TOOLS}/lib")
    os.environ["PATH"] = f"{TOOLS}:{TOOLS}/lib/bin:{os.environ['PATH']}"

import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

# The oldest that the manifests say they need, and one of today.
KUBERNETES = ["1.30", "1.34"]
# Resources of others, without a schema here.
OTHERS = {"monitoring.coreos.com/v1"}
# Variables that no setting of ours reads.
VARIABLES_OF_OTHERS = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
# What an overlay must set (base/settings.env).
AN_AGENTS_OWN = ["BINDU_NAME", "BINDU_AUTHOR", "BINDU_DEPLOYMENT_URL", "VAULT__ROLE"]


def said(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def resources(text):
    return [document for document in yaml.safe_load_all(text) if document]


def kustomize(directory):
    return resources(said("kubectl", "kustomize", directory))


def chart(values, release):
    command = ["helm", "template", release, CHART, "--namespace", "agents", "--kube-version", KUBERNETES[0], "-f", values]
    return resources(said(*command))


def rendered():
    """Everything that can be rendered, by its name."""
    all_of_it = {}
    for directory in sorted(path.parent for path in KUSTOMIZE.rglob("kustomization.yaml")):
        kind = yaml.safe_load((directory / "kustomization.yaml").read_text())["kind"]
        if kind == "Kustomization":
            all_of_it[str(directory.relative_to(ROOT))] = kustomize(directory)
    for component in sorted((KUSTOMIZE / "components").iterdir()):
        all_of_it[f"{component.relative_to(ROOT)}, on the echo agent"] = with_components(EXAMPLE / "echo-agent", [component])
    gate = KUSTOMIZE / "cluster" / "hydra-admin-gate"
    all_of_it["the gate with TLS"] = with_components(gate / "registering", [gate / "tls"])
    for values in sorted((CHART / "ci").glob("*.yaml")):
        all_of_it[str(values.relative_to(ROOT))] = chart(values, values.name.removesuffix("-values.yaml"))
    return all_of_it


def with_components(directory, components):
    """What an overlay of an overlay with these components renders; those that it has already are not taken twice."""
    content = yaml.safe_load((directory / "kustomization.yaml").read_text())
    here = [str((directory / path).resolve()) for path in content.get("components", [])]
    added = [str(path) for path in components if str(path) not in here]
    if not added:
        return kustomize(directory)
    # In the tree, because Kustomize takes no absolute paths.
    place = directory.parent / ".check"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(directory, place)
    try:
        relative = [os.path.relpath(path, place) for path in added]
        content["components"] = content.get("components", []) + relative
        (place / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return kustomize(place)
    finally:
        shutil.rmtree(place)


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def pod_templates(documents):
    for document in documents:
        if document["kind"] == "Deployment":
            yield document, document["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield document, document["spec"]


def settings_of(documents):
    """The settings of each agent, by the name of its Deployment."""
    maps = {document["metadata"]["name"]: document.get("data", {}) for document in of_kind(documents, "ConfigMap")}
    found = {}
    for deployment in of_kind(documents, "Deployment"):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        names = [source["configMapRef"]["name"] for source in container.get("envFrom", [])]
        if names:
            found[deployment["metadata"]["name"]] = {key: value for name in names for key, value in maps[name].items()}
    return found


# The checks: each raises an AssertionError with what is wrong.


def is_valid(all_of_it):
    for name, documents in all_of_it.items():
        for document in documents:
            what = f"{name}: {document['kind']}/{document['metadata']['name']}"
            if document["apiVersion"] in OTHERS:
                assert document.get("spec"), f"{what}: no spec"
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except Exception as error:
                    raise AssertionError(f"{what} ({version}): {str(error).splitlines()[0]}") from error


def is_restricted(all_of_it):
    """Kubernetes' pod security standard `restricted`, and what we ask beyond it."""
    for name, documents in all_of_it.items():
        for document, pod in pod_templates(documents):
            what = f"{name}: {document['metadata']['name']}"
            context = pod.get("securityContext", {})
            assert context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0, f"{what}: may be root"
            assert context.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{what}: no seccomp profile"
            assert pod.get("automountServiceAccountToken") is False, f"{what}: has a token for the API server"
            assert pod.get("enableServiceLinks") is False, f"{what}: gets variables from Services"
            assert not pod.get("hostNetwork") and not pod.get("hostPID"), f"{what}: is on the host"
            for container in pod["containers"]:
                own = container.get("securityContext", {})
                assert own.get("allowPrivilegeEscalation") is False, f"{what}: may become more"
                assert own.get("readOnlyRootFilesystem") is True, f"{what}: may write to its root"
                assert own.get("capabilities") == {"drop": ["ALL"]}, f"{what}: has capabilities"
                assert "memory" in container["resources"]["limits"], f"{what}: no limit of memory"


def chart_is_as_kustomize(all_of_it):
    """The chart's defaults are the base's, and what it makes of them, too."""
    for one, other in [
        ("deploy/kubernetes/overlays/example/echo-agent", "echo-agent-values.yaml"),
        ("deploy/kubernetes/components/postgres, on the echo agent", "postgres-values.yaml"),
    ]:
        ours = comparable(all_of_it[one])
        theirs = comparable(chart(CHART / "ci" / other, "echo-agent"))
        assert ours.keys() == theirs.keys(), f"resources: {sorted(ours)} and {sorted(theirs)}"
        for key, document in ours.items():
            difference = list(differences(document, theirs[key]))
            assert not difference, f"{key}, {one} and {other}:\n  " + "\n  ".join(difference)


def comparable(documents):
    return {document["kind"]: plain(document) for document in documents if not is_a_hook(document)}


def is_a_hook(document):
    return "helm.sh/hook" in document["metadata"].get("annotations", {})


def plain(document):
    """Without what each of the two tools adds of its own."""
    text = json.dumps(document)
    text = re.sub(r"echo-settings-[0-9a-z]{10}|echo-agent-settings", "SETTINGS", text)
    document = json.loads(text)
    for metadata in [document["metadata"], document.get("spec", {}).get("template", {}).get("metadata", {})]:
        for label in ["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"]:
            metadata.get("labels", {}).pop(label, None)
        metadata.get("annotations", {}).pop("checksum/settings", None)
    for _, pod in pod_templates([document]):
        # In any order: a patch of Kustomize puts its own first.
        pod["volumes"].sort(key=lambda volume: volume["name"])
        for container in pod["containers"]:
            container["volumeMounts"].sort(key=lambda mount: mount["name"])
    return document


def differences(one, other, at=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{at}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other)):
            yield from differences(*pair, f"{at}[{index}]")
    elif one != other:
        yield f"{at}: {one!r} and {other!r}"


def settings_are_known(all_of_it):
    settings = ROOT / "crates/bindu/src/settings"
    registry = (settings / "registry.rs").read_text() + (settings / "names.rs").read_text()
    known = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', registry)) | VARIABLES_OF_OTHERS
    for name, documents in all_of_it.items():
        for agent, settings in settings_of(documents).items():
            unknown = sorted(settings.keys() - known)
            assert not unknown, f"{name}, {agent}: {', '.join(unknown)}: no settings"
    unit = (DEPLOY / "systemd/bindu@.service").read_text()
    variables = re.findall(r"^Environment=([A-Z0-9_]+)=", unit, re.MULTILINE)
    variables += re.findall(r"^([A-Z0-9_]+)=", (DEPLOY / "systemd/agent.env.example").read_text(), re.MULTILINE)
    unknown = sorted(set(variables) - known)
    assert variables and not unknown, f"systemd: {', '.join(unknown)}: no settings"


def settings_are_taken(all_of_it):
    """The program itself reads what each agent would get, and finds no mistake."""
    binary = os.environ.get("BINDU_BINARY")
    if not binary:
        return "skipped: BINDU_BINARY names no program"
    binary = Path(binary).resolve()
    for name, documents in all_of_it.items():
        if name == "deploy/kubernetes/base":
            # No agent yet.
            continue
        for agent, settings in settings_of(documents).items():
            # A file that is in the pod alone.
            settings = {key: value for key, value in settings.items() if key != "VAULT_CACERT"}
            deployment = next(d for d in of_kind(documents, "Deployment") if d["metadata"]["name"] == agent)
            if "DATABASE_URL" in variables_of_secrets(deployment):
                settings["DATABASE_URL"] = "postgres://agent:password@postgres.database.svc:5432/tasks"
            done = subprocess.run([binary, "config", "show"], env=settings, cwd="/", capture_output=True, text=True)
            assert done.returncode == 0 and not done.stderr, f"{name}, {agent}: {done.stderr}"


def agents_are_told_apart(all_of_it):
    agents = settings_of(all_of_it["deploy/kubernetes/overlays/example"])
    assert len(agents) == 2, f"the example has {sorted(agents)}"
    for variable in AN_AGENTS_OWN:
        values = [settings.get(variable) for settings in agents.values()]
        assert all(values), f"{variable} is missing somewhere: {values}"
        alike = variable != "BINDU_AUTHOR" and len(set(values)) < len(values)
        assert not alike, f"{variable} is the same for two agents"
    accounts = [pod["serviceAccountName"] for _, pod in pod_templates(all_of_it["deploy/kubernetes/overlays/example"])]
    assert len(set(accounts)) == len(accounts), f"two agents with one service account: {accounts}"


def hosts_agree(all_of_it):
    for name, documents in all_of_it.items():
        for ingress in of_kind(documents, "Ingress"):
            hosts = [rule["host"] for rule in ingress["spec"]["rules"]]
            hosts += [host for tls in ingress["spec"]["tls"] for host in tls["hosts"]]
            settings = settings_of(documents)[ingress["metadata"]["name"]]
            expected = {settings["BINDU_DEPLOYMENT_URL"].removeprefix("https://")}
            assert set(hosts) == expected, f"{name}: the ingress is for {hosts}, the agent says {expected}"


def selectors_select(all_of_it):
    """A Service, a budget and a policy select the pods beside them, and only one agent's."""
    for name, documents in all_of_it.items():
        labels = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in of_kind(documents, "Deployment")}
        for document in documents:
            kind, spec = document["kind"], document.get("spec", {})
            if kind == "Service":
                selector = spec["selector"]
            elif kind == "PodDisruptionBudget":
                selector = spec["selector"]["matchLabels"]
            elif kind == "NetworkPolicy" and document["metadata"]["name"] in labels:
                selector = spec["podSelector"]["matchLabels"]
            else:
                continue
            own = document["metadata"]["name"]
            # The base has no agent's own label yet.
            hit = [pod for pod, has in labels.items() if selector.items() <= has.items()]
            assert hit == [own], f"{name}: {kind}/{own} selects {hit}"


def versions_agree(all_of_it):
    cargo = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == cargo, f"Chart.yaml: appVersion {about['appVersion']}, Cargo.toml: {cargo}"
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    version = re.search(r"^ARG VERSION=(.+)$", dockerfile, re.MULTILINE).group(1)
    assert version == cargo, f"Dockerfile: VERSION {version}, Cargo.toml: {cargo}"
    images = [pod["containers"][0]["image"] for _, pod in pod_templates(all_of_it["deploy/kubernetes/overlays/example"])]
    assert all(image.endswith(f":{cargo}") for image in images), f"the example runs {images}, Cargo.toml: {cargo}"
    toolchain = re.search(r'channel = "(.+)"', (ROOT / "rust-toolchain.toml").read_text()).group(1)
    rust = re.search(r"^ARG RUST_VERSION=(.+)$", dockerfile, re.MULTILINE).group(1)
    assert rust == toolchain, f"Dockerfile: Rust {rust}, rust-toolchain.toml: {toolchain}"


def grace_is_enough(all_of_it):
    """preStop, drain, the handler's end and Vault's fit before SIGKILL."""
    # The table is written from the settings themselves, and tested against them.
    table = (ROOT / "docs/CONFIGURATION.md").read_text()
    default = int(re.search(r"`BINDU_DRAIN_DEADLINE` \| `(\d+)s`", table).group(1))
    for name, documents in all_of_it.items():
        for agent, settings in settings_of(documents).items():
            pod = next(d for d in of_kind(documents, "Deployment") if d["metadata"]["name"] == agent)["spec"]["template"]["spec"]
            drain = int(settings.get("BINDU_DRAIN_DEADLINE", f"{default}s").removesuffix("s"))
            sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            grace = pod["terminationGracePeriodSeconds"]
            assert grace >= sleep + drain + 5, f"{name}, {agent}: {grace} s for {sleep} s, {drain} s and the end"


def headings(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def alerts_agree_with_the_docs(all_of_it):
    operations = (ROOT / "docs/OPERATIONS.md").read_text()
    (rule,) = of_kind(all_of_it["deploy/kubernetes/cluster/monitoring"], "PrometheusRule")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len({alert["alert"] for alert in alerts}) == len(alerts), "two alerts of one name"
    for alert in alerts:
        name = alert["alert"]
        for metric in re.findall(r"\bbindu_[a-z_]+", alert["expr"]):
            assert f"`{metric}" in operations, f"{name}: {metric} is not in docs/OPERATIONS.md"
        for reasons in re.findall(r'reason!?=~?"([^"]+)"', alert["expr"]):
            for reason in reasons.split("|"):
                assert f"`{reason}`" in operations, f"{name}: the reason {reason} is not in docs/OPERATIONS.md"
        page, _, heading = alert["annotations"]["runbook"].partition("#")
        assert (ROOT / page).is_file(), f"{name}: there is no page {page}"
        assert heading in headings(ROOT / page), f"{name}: {page} has no heading {heading}"


def links_lead_somewhere(_):
    page = ROOT / "docs/KUBERNETES.md"
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        other = page if not path else (page.parent / path).resolve()
        assert other.exists(), f"docs/KUBERNETES.md: there is no {path}"
        assert not heading or heading in headings(other), f"docs/KUBERNETES.md: {other.name} has no heading {heading}"


def several_replicas_say_so(all_of_it):
    """More than one replica without a shared task store is refused, or accepted in so many words."""
    for name, documents in all_of_it.items():
        for deployment in of_kind(documents, "Deployment"):
            spec = deployment["spec"]
            labels = deployment["metadata"].get("labels", {})
            if labels.get("app.kubernetes.io/name") != "bindu-agent" or spec["replicas"] <= 1:
                continue
            annotations = spec["template"]["metadata"].get("annotations", {})
            is_local = annotations.get("bindu.dev/tasks") == "local"
            assert is_local or "DATABASE_URL" in variables_of_secrets(deployment), f"{name}: several replicas, and nothing says so"

    def several(*values):
        command = ["helm", "template", "several", CHART, "-f", CHART / "ci" / "echo-agent-values.yaml", "--set", "replicas=2", *values]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True)

    refused = several()
    assert refused.returncode != 0 and "tasks.local=true" in refused.stderr, refused.stderr
    assert "database.existingSecret" in refused.stderr, refused.stderr
    for value in ["tasks.local=true", "database.existingSecret=database"]:
        accepted = several("--set", value)
        assert accepted.returncode == 0, accepted.stderr
    both = several("--set", "tasks.local=true,database.existingSecret=database")
    assert both.returncode != 0 and "exclude each other" in both.stderr, both.stderr


def a_database_is_used(all_of_it):
    """Whoever gets a DATABASE_URL keeps its tasks there, may reach it, and its URL is in no ConfigMap; all others: memory."""
    found = 0
    for name, documents in all_of_it.items():
        for agent, settings in settings_of(documents).items():
            deployment = next(d for d in of_kind(documents, "Deployment") if d["metadata"]["name"] == agent)
            has_url = "DATABASE_URL" in variables_of_secrets(deployment)
            expected = "postgres" if has_url else "memory"
            assert settings.get("STORAGE_TYPE") == expected, f"{name}, {agent}: STORAGE_TYPE is not {expected}"
            assert not {"DATABASE_URL", "BINDU_STORAGE_LISTEN_URL"} & settings.keys(), f"{name}, {agent}: a password in a ConfigMap"
            policies = [d for d in of_kind(documents, "NetworkPolicy") if d["metadata"]["name"] == agent]
            for policy in policies:
                text = json.dumps(policy["spec"]["egress"])
                assert ("bindu.dev/database" in text) == has_url, f"{name}, {agent}: the network policy and the database"
            found += has_url
    assert found >= 2, "neither the component nor the chart has a database"
    refused = subprocess.run(
        ["helm", "template", "agent", str(CHART), "-f", str(CHART / "ci/echo-agent-values.yaml"), "--set", "settings.DATABASE_URL=x"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode != 0 and "no place for a secret" in refused.stderr, refused.stderr


def variables_of_secrets(deployment):
    """The variables of the agent's container that come from Secrets, with the Secrets' names."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    sources = {variable["name"]: variable.get("valueFrom", {}) for variable in container.get("env", [])}
    return {name: source["secretKeyRef"]["name"] for name, source in sources.items() if "secretKeyRef" in source}


def charts_are_linted(_):
    for values in [None, *sorted((CHART / "ci").glob("*.yaml"))]:
        said("helm", "lint", "--strict", CHART, *(["-f", values] if values else []))
    done = subprocess.run(
        ["helm", "template", "agent", str(CHART), "--kube-version", KUBERNETES[0]], capture_output=True, text=True
    )
    assert done.returncode != 0, "the chart makes an agent without a name"
    for missing in ["agent.name is not set", "agent.author is not set"]:
        assert missing in done.stderr, f"an agent without a name: {done.stderr}"


def dockerfiles_are_linted(_):
    for dockerfile in sorted((DEPLOY / "docker").glob("*Dockerfile")):
        said("hadolint", dockerfile)


def no_secret_lies_here(_):
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and path != Path(__file__):
            found = re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bhv[sbr]\.[A-Za-z0-9]{20}|ory_at_[A-Za-z0-9]", path.read_text())
            assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"


CHECKS = [
    is_valid,
    is_restricted,
    chart_is_as_kustomize,
    settings_are_known,
    settings_are_taken,
    agents_are_told_apart,
    hosts_agree,
    selectors_select,
    versions_agree,
    grace_is_enough,
    alerts_agree_with_the_docs,
    several_replicas_say_so,
    a_database_is_used,
    links_lead_somewhere,
    charts_are_linted,
    dockerfiles_are_linted,
    no_secret_lies_here,
]


def main():
    if sys.argv[1:2] == ["--rules"]:
        rule = yaml.safe_load((KUSTOMIZE / "cluster/monitoring/alerts.yaml").read_text())
        Path(sys.argv[2]).write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
        return 0
    all_of_it = rendered()
    print(f"{len(all_of_it)} renderings, {sum(map(len, all_of_it.values()))} resources")
    failed = 0
    for check in CHECKS:
        try:
            word = check(all_of_it) or "ok"
        except AssertionError as error:
            failed += 1
            print(f"{check.__name__}: FAILED\n  {error}")
        else:
            print(f"{check.__name__}: {word}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
