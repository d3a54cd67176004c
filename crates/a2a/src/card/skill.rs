//! A skill: what an agent says that it can do, in Python Bindu's fields and in A2A's.

use super::put;
use serde_json::{Map, Value, json};

/// Python Bindu's optional fields, which are shown as they were written.
const OPTIONAL: [&str; 9] = [
    "version",
    "author",
    "examples",
    "capabilities_detail",
    "requirements",
    "performance",
    "allowed_tools",
    "documentation",
    "assessment",
];

/// What a skill takes and gives if it doesn't say.
const MODE: &str = "text/plain";

/// A skill.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Skill {
    /// Unique on the agent.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Media types that it takes.
    pub input_modes: Vec<String>,
    /// Media types that it gives.
    pub output_modes: Vec<String>,
    /// Python Bindu's optional fields.
    pub(super) more: Map<String, Value>,
    /// The file that it comes from.
    pub documentation: Option<Documentation>,
    /// What `SKILL.md` says below its front matter.
    pub markdown: Option<String>,
}

/// The file that a skill comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documentation {
    /// Its path, as it is shown.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// What is wrong with a skill: the field, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SkillError {
    /// The field; empty if it is all of the skill.
    pub field: &'static str,
    /// For whoever wrote it.
    pub problem: String,
}

impl Skill {
    /// Reads a skill from its fields, as Python Bindu does: unknown ones are left out. What Python Bindu would serve and others
    /// could not read (a tag that is a number, say) is a mistake.
    ///
    /// # Errors
    /// The first field that is missing or not of its type.
    pub fn read(fields: &Value) -> Result<Self, SkillError> {
        let Value::Object(fields) = fields else {
            return Err(SkillError { field: "", problem: "it must have fields, such as `name`".to_owned() });
        };
        let name = text(fields, "name")?;
        let id = if fields.contains_key("id") { text(fields, "id")? } else { name.clone() };
        let more =
            OPTIONAL.iter().filter_map(|field| Some(((*field).to_owned(), fields.get(*field)?.clone())));
        let skill = Self {
            id,
            name,
            description: text(fields, "description")?,
            tags: texts(fields, "tags")?.unwrap_or_default(),
            input_modes: texts(fields, "input_modes")?.unwrap_or_else(|| vec![MODE.to_owned()]),
            output_modes: texts(fields, "output_modes")?.unwrap_or_else(|| vec![MODE.to_owned()]),
            more: more.collect(),
            documentation: None,
            markdown: None,
        };
        texts(fields, "examples")?;
        texts(fields, "allowed_tools")?;
        Ok(skill)
    }

    /// An optional field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.more.get(name)
    }

    /// The texts of an optional field that is a list.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.field(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The skill on A2A's card. A2A wants tags; a skill without any is found by its id.
    pub(super) fn a2a(&self) -> Value {
        let id = vec![self.id.clone()];
        let mut skill = json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": if self.tags.is_empty() { &id } else { &self.tags },
        });
        let lists = [
            ("examples", self.list("examples").iter().map(|text| (*text).to_owned()).collect()),
            ("inputModes", self.input_modes.clone()),
            ("outputModes", self.output_modes.clone()),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            put(&mut skill, name, json!(list));
        }
        skill
    }

    /// The skill in the list of `/agent/skills`.
    #[must_use]
    pub fn summary(&self) -> Value {
        let mut summary = json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "version": self.field("version").cloned().unwrap_or_else(|| json!("unknown")),
            "tags": self.tags,
            "input_modes": self.input_modes,
            "output_modes": self.output_modes,
        });
        if let Some(examples) = self.field("examples") {
            put(&mut summary, "examples", examples.clone());
        }
        if let Some(documentation) = &self.documentation {
            put(&mut summary, "documentation_path", json!(documentation.path));
        }
        summary
    }

    /// All of it but its file, for `/agent/skills/{id}`.
    #[must_use]
    pub fn detail(&self) -> Value {
        let mut detail = json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "input_modes": self.input_modes,
            "output_modes": self.output_modes,
            "has_documentation": self.documentation.is_some(),
        });
        for (name, value) in &self.more {
            put(&mut detail, name, value.clone());
        }
        if let Some(documentation) = &self.documentation {
            put(&mut detail, "documentation_path", json!(documentation.path));
        }
        if let Some(markdown) = &self.markdown {
            put(&mut detail, "markdown_content", json!(markdown));
        }
        detail
    }
}

fn wrong(field: &'static str, must: &str) -> SkillError {
    SkillError { field, problem: format!("`{field}` must be {must}") }
}

fn text(fields: &Map<String, Value>, field: &'static str) -> Result<String, SkillError> {
    match fields.get(field) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(_) => Err(wrong(field, "a text that is not empty; quotes around it make it one")),
        None => Err(SkillError { field, problem: format!("`{field}` is missing") }),
    }
}

fn texts(fields: &Map<String, Value>, field: &'static str) -> Result<Option<Vec<String>>, SkillError> {
    let item = |item: &Value| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match fields.get(field) {
        None => Ok(None),
        Some(Value::Array(items)) => match items.iter().map(item).collect() {
            Some(texts) => Ok(Some(texts)),
            None => Err(wrong(field, "a list of texts, none of them empty")),
        },
        Some(_) => Err(wrong(field, "a list of texts, such as [\"one\", \"two\"]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_defaults_and_unknown_ones_are_left_out() {
        let skill = Skill::read(&json!({"name": "n", "description": "d", "unknown": 1})).expect("a skill");
        assert_eq!(skill.summary()["version"], "unknown");
        assert_eq!(
            skill.detail(),
            json!({
                "id": "n", "name": "n", "description": "d", "tags": [], "input_modes": ["text/plain"],
                "output_modes": ["text/plain"], "has_documentation": false,
            })
        );
        assert_eq!(skill.a2a()["tags"], json!(["n"]), "A2A wants a tag");
    }

    #[test]
    fn a_mistake_names_its_field() {
        for (fields, field) in [
            (json!("text"), ""),
            (json!({"description": "d"}), "name"),
            (json!({"name": "", "description": "d"}), "name"),
            (json!({"name": 1.5, "description": "d"}), "name"),
            (json!({"name": "n"}), "description"),
            (json!({"name": "n", "description": "d", "id": null}), "id"),
            (json!({"name": "n", "description": "d", "tags": "one"}), "tags"),
            (json!({"name": "n", "description": "d", "tags": [1]}), "tags"),
            (json!({"name": "n", "description": "d", "input_modes": [""]}), "input_modes"),
            (json!({"name": "n", "description": "d", "output_modes": {}}), "output_modes"),
            (json!({"name": "n", "description": "d", "examples": [{}]}), "examples"),
            (json!({"name": "n", "description": "d", "allowed_tools": "Read"}), "allowed_tools"),
        ] {
            let error = Skill::read(&fields).expect_err("a mistake");
            assert_eq!(error.field, field, "{fields}");
            assert!(field.is_empty() || error.problem.contains(field), "{error}");
        }
    }
}
