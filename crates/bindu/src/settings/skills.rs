//! Skills, from the settings and from folders as Python Bindu reads them: `skill.yaml` has the fields, else the front matter of
//! `SKILL.md` has; the text below it is the skill's documentation in either case.

use super::json;
use super::{
    Setting,
    reader::Reader,
    registry::{PRIVATE_SKILLS, SKILLS},
};
use bindu_a2a::card::{Documentation, Skill, SkillError};
use bindu_http_client::named_file;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// No description of a skill is longer. The file is kept in memory and served to whoever asks.
const MAX_FILE: usize = 1024 * 1024;

const YAML: &str = "skill.yaml";
const MARKDOWN: &str = "SKILL.md";

/// Where a skill is described.
#[derive(Debug, Clone, PartialEq)]
pub enum SkillSource {
    /// In this folder.
    Folder(PathBuf),
    /// In the setting itself.
    Inline(Box<Skill>),
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    file: &'static str,
    line: Option<usize>,
    what: String,
}

/// Reads the setting: a list of folders and skills.
pub(super) fn sources(text: &str) -> Result<Vec<SkillSource>, String> {
    let expected = "it must be a list of folders and of objects, such as [\"skills/pdf\", {\"name\": \"sum\", \"description\": \
                    \"Adds numbers\"}]";
    let Ok(items) = json::read::<Vec<Value>>(text) else { return Err(expected.to_owned()) };
    let source = |(at, item): (usize, &Value)| match item {
        Value::String(folder) if !folder.trim().is_empty() => Ok(SkillSource::Folder(PathBuf::from(folder))),
        Value::Object(_) => match Skill::read(item) {
            Ok(skill) => Ok(SkillSource::Inline(Box::new(skill))),
            Err(error) => Err(format!("skill {} of the list: {error}", at + 1)),
        },
        _ => Err(format!("item {} of the list is neither a folder nor an object; {expected}", at + 1)),
    };
    items.iter().enumerate().map(source).collect()
}

impl Reader {
    /// The skills and the private skills, read from their folders. All mistakes are noted.
    pub(super) fn skills(&mut self) -> [Vec<Skill>; 2] {
        let mut ids = BTreeSet::new();
        [&SKILLS, &PRIVATE_SKILLS].map(|setting| self.skills_of(setting, &mut ids))
    }

    fn skills_of(&mut self, setting: &Setting<Vec<SkillSource>>, ids: &mut BTreeSet<String>) -> Vec<Skill> {
        let mut skills = Vec::new();
        for source in self.value(setting) {
            let (skill, place) = match source {
                SkillSource::Inline(skill) => (*skill, setting.key.to_owned()),
                SkillSource::Folder(folder) => match self.folder(&folder) {
                    Ok(skill) => (skill, folder.display().to_string()),
                    Err(problem) => {
                        let file = folder.join(problem.file);
                        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
                        let (origin, what) = (self.origin(setting), problem.what);
                        let mistake =
                            format!("`{}` ({origin}): {}{line}: {what}", setting.key, file.display());
                        self.mistakes.push(mistake);
                        continue;
                    }
                },
            };
            if !ids.insert(skill.id.clone()) {
                let origin = self.origin(setting);
                let mistake =
                    format!("`{}` ({origin}): {place}: a second skill of the id {:?}", setting.key, skill.id);
                self.mistakes.push(mistake);
            }
            skills.push(skill);
        }
        skills
    }

    fn folder(&mut self, folder: &Path) -> Result<Skill, Problem> {
        let problem = |what: &str| Problem { file: "", line: None, what: what.to_owned() };
        if !folder.is_dir() {
            return Err(problem("there is no such folder"));
        }
        let (yaml, markdown) = (read(folder, YAML)?, read(folder, MARKDOWN)?);
        let shown = |file: &str| shown_path(folder, file);
        match (yaml, markdown) {
            (None, None) => Err(problem("the folder has neither a skill.yaml nor a SKILL.md")),
            (Some(yaml), markdown) => {
                let mut skill = parse(YAML, &yaml, 0)?;
                skill.documentation = Some(Documentation { path: shown(YAML), content: yaml });
                match markdown.as_deref().map(split).transpose() {
                    Ok(parts) => skill.markdown = parts.and_then(|(_, _, body)| said(body)),
                    // The fields are all there; Python Bindu goes on as well.
                    Err(problem) => self.warnings.push(format!(
                        "{}: {}; skill.yaml alone counts",
                        folder.join(MARKDOWN).display(),
                        problem.what
                    )),
                }
                Ok(skill)
            }
            (None, Some(markdown)) => {
                let (front_matter, begins, body) = split(&markdown)?;
                let mut skill = parse(MARKDOWN, front_matter, begins)?;
                skill.markdown = said(body);
                skill.documentation = Some(Documentation { path: shown(MARKDOWN), content: markdown });
                Ok(skill)
            }
        }
    }
}

fn said(body: &str) -> Option<String> {
    let body = body.trim();
    (!body.is_empty()).then(|| body.to_owned())
}

/// A file of a folder; none if it is not there.
fn read(folder: &Path, file: &'static str) -> Result<Option<String>, Problem> {
    let problem = |what: String| Problem { file, line: None, what };
    let path = folder.join(file);
    let bytes = match named_file::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(format!("it can't be read: {error}"))),
    };
    if bytes.len() > MAX_FILE {
        return Err(problem("it is longer than 1 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Problem { file, line: Some(line), what: "it is not UTF-8 text".to_owned() }
    })?;
    Ok(Some(super::file::without_mark(&text).to_owned()))
}

/// The front matter of a Markdown text, how many lines come before it, and what comes after it.
fn split(text: &str) -> Result<(&str, usize, &str), Problem> {
    let problem = |line, what: &str| Problem { file: MARKDOWN, line: Some(line), what: what.to_owned() };
    let begin = text.len() - text.trim_start().len();
    let before = text.get(..begin).unwrap_or_default().matches('\n').count();
    let rest = text.get(begin..).unwrap_or_default();
    let first = rest.lines().next().unwrap_or_default();
    if first.trim_end() != "---" {
        return Err(problem(
            before + 1,
            "it must begin with front matter: a line `---`, fields, and a line `---`",
        ));
    }
    let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            let (front_matter, body) = (rest.get(..at), rest.get(at + line.len()..));
            return Ok((front_matter.unwrap_or_default(), before + 1, body.unwrap_or_default()));
        }
        at += line.len();
    }
    Err(problem(before + 1, "its front matter does not end: a line `---` is missing"))
}

/// A skill from YAML, which begins after so many lines of its file.
fn parse(file: &'static str, yaml: &str, begins: usize) -> Result<Skill, Problem> {
    let options = serde_saphyr::options! { with_snippet: false };
    let fields: Value = serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        // Its first line: what follows is advice for programmers.
        let what = error.to_string().lines().next().unwrap_or_default().to_owned();
        Problem { file, line: line.map(|line| line + begins), what }
    })?;
    Skill::read(&fields).map_err(|error: SkillError| {
        let is_its = |line: &str| line.trim_start_matches(['"', '\'']).starts_with(error.field);
        let line = yaml.lines().position(is_its).filter(|_| !error.field.is_empty());
        Problem { file, line: Some(begins + line.unwrap_or_default() + 1), what: error.problem }
    })
}

/// The path of a file as Python Bindu shows it, relative to the parent of the working directory; what lies elsewhere is shown by
/// its folder alone, since where this machine keeps things is nobody's business.
fn shown_path(folder: &Path, file: &str) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).join(file);
    let here = std::env::current_dir().ok().and_then(|here| here.parent().map(Path::to_owned));
    let relative = here.as_deref().and_then(|here| whole.strip_prefix(here).ok());
    let folder = Path::new(folder.file_name().unwrap_or_default());
    relative.map_or_else(|| folder.join(file), Path::to_owned).display().to_string()
}

#[cfg(test)]
#[path = "skills_tests.rs"]
mod tests;
