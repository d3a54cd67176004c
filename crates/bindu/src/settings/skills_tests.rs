use super::*;
use crate::settings::{Layers, Settings};
use std::{collections::BTreeMap, fs};

const GOOD: &str =
    "name: pdf\ndescription: Reads PDFs\nversion: 1.0\ntags: [pdf, \"1\"]\nassessment:\n  keywords: [pdf]\n";

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("writes");
    }
    folder
}

fn load(file: &str, text: &str) -> Result<Settings, Vec<String>> {
    let disk = tempfile::tempdir().expect("a directory");
    let path = disk.path().join(file);
    fs::write(&path, text).expect("writes");
    let mut layers = Layers::default();
    layers.config(path);
    let layers = layers.with_environment(BTreeMap::new(), Path::new("/nonexistent"));
    layers.and_then(Settings::load).map_err(|refusal| refusal.causes)
}

fn of_folder(files: &[(&str, &[u8])]) -> Result<Skill, String> {
    let folder = folder(files);
    let text = format!("skills = [{:?}]\n", folder.path().display().to_string());
    let settings = load("bindu.toml", &text).map_err(|causes| causes.join("\n"))?;
    Ok(settings.skills.into_iter().next().expect("a skill"))
}

#[test]
fn a_folder_is_read_as_python_bindu_reads_it() {
    let yaml = of_folder(&[("skill.yaml", GOOD.as_bytes())]).expect("good");
    assert_eq!((yaml.id.as_str(), yaml.tags.len(), yaml.markdown.clone()), ("pdf", 2, None));
    assert_eq!(yaml.detail()["version"], serde_json::json!(1.0));
    assert_eq!(yaml.documentation.expect("a file").content, GOOD);

    let markdown = "\n---\nname: sum\ndescription: |\n  Adds.\n  --- not the end\n---\n# Sum\n\n---\nAdds.\n";
    let skill = of_folder(&[("SKILL.md", markdown.as_bytes())]).expect("good");
    assert_eq!((skill.name.as_str(), skill.markdown.as_deref()), ("sum", Some("# Sum\n\n---\nAdds.")));
    assert_eq!(skill.description, "Adds.\n--- not the end\n");
    assert_eq!(skill.documentation.expect("a file").content, markdown);

    let both =
        of_folder(&[("skill.yaml", GOOD.as_bytes()), ("SKILL.md", markdown.as_bytes())]).expect("good");
    assert_eq!((both.name.as_str(), both.markdown.as_deref()), ("pdf", Some("# Sum\n\n---\nAdds.")));
    let odd =
        of_folder(&[("skill.yaml", GOOD.as_bytes()), ("SKILL.md", b"# No front matter")]).expect("good");
    assert_eq!(odd.markdown, None);
}

#[test]
fn a_mistake_names_its_file_and_line() {
    let dos = GOOD.replace('\n', "\r\n");
    assert!(of_folder(&[("skill.yaml", format!("\u{feff}{dos}").as_bytes())]).is_ok());
    for (name, content, place) in [
        ("skill.yaml", "name: pdf\n", "skill.yaml:1: `description` is missing"),
        ("skill.yaml", "name: pdf\ndescription: d\ntags: one\n", "skill.yaml:3: `tags` must be a list"),
        ("skill.yaml", "name: pdf\ndescription: d\ntags: [a, b\nx: 1\n", "skill.yaml:"),
        ("skill.yaml", "name: pdf\nname: again\ndescription: d\n", "skill.yaml:2: "),
        ("skill.yaml", "name: 1\ndescription: d\n", "skill.yaml:1: `name` must be a text"),
        ("skill.yaml", "- a\n- b\n", "skill.yaml:1: it must have fields"),
        ("skill.yaml", "", "skill.yaml"),
        ("SKILL.md", "# Title\n", "SKILL.md:1: it must begin with front matter"),
        ("SKILL.md", "\n\n---\nname: a\n", "SKILL.md:3: its front matter does not end"),
        ("SKILL.md", "---\nname: a\ndescription: [\n---\n", "SKILL.md:"),
        ("SKILL.md", "\n---\nname: a\ndescription: d\ninput_modes: {}\n---\n", "SKILL.md:5: `input_modes`"),
        ("other.md", "", "neither a skill.yaml nor a SKILL.md"),
    ] {
        let told = of_folder(&[(name, content.as_bytes())]).expect_err(content);
        assert!(told.contains(place) && told.contains("`skills` ("), "{content:?}: {told}");
    }
    let told = of_folder(&[("skill.yaml", b"name: a\ndescription: \xff\n")]).expect_err("not UTF-8");
    assert!(told.contains("skill.yaml:2: it is not UTF-8"), "{told}");
    let long = vec![b'#'; MAX_FILE + 1];
    assert!(of_folder(&[("skill.yaml", &long)]).expect_err("long").contains("longer than 1 MiB"));
    // Ten levels of ten would be ten thousand million texts.
    let mut bomb = "name: a\ndescription: d\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(",")));
    }
    assert!(of_folder(&[("skill.yaml", bomb.as_bytes())]).is_err(), "aliases are bounded");
}

#[test]
fn skills_are_folders_and_tables_in_either_file() {
    let inline = "[[skills]]\nname = \"sum\"\ndescription = \"Adds\"\n\n[[private_skills]]\nname = \"x\"\ndescription = \"y\"\n";
    let settings = load("bindu.toml", inline).expect("good");
    assert_eq!((settings.skills.len(), settings.private_skills.len()), (1, 1));
    assert!(
        settings.warnings.iter().any(|told| told.contains("nobody sees them")),
        "{:?}",
        settings.warnings
    );
    let json = r#"{"skills": [{"name": "sum", "description": "Adds", "tags": ["a"]}]}"#;
    assert_eq!(load("agent.json", json).expect("good").skills[0].tags, ["a"]);
    for (text, place) in [
        ("skills = [\"/nonexistent/folder\"]", "/nonexistent/folder/: there is no such folder"),
        ("skills = [1]", "item 1 of the list"),
        ("skills = [\"\"]", "item 1 of the list"),
        ("skills = \"skills/pdf\"", "it must be a list"),
        (
            "skills = [{name = \"a\", description = \"b\"}, {name = \"c\"}]",
            "skill 2 of the list: `description` is missing",
        ),
        (
            "skills = [{name = \"a\", description = \"b\"}]\nprivate_skills = [{name = \"a\", description = \"c\"}]",
            "a second skill",
        ),
    ] {
        let told = load("bindu.toml", text).err().map(|causes| causes.join("\n")).unwrap_or_default();
        assert!(told.contains(place) && told.contains("skills`"), "{text}: {told}");
    }
}
