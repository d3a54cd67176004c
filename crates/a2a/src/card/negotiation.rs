//! How well an agent's skills fit a task: Python Bindu's `/agent/negotiation`, as recorded from it without its embeddings (which
//! need a vendor's service). The same numbers come out.

use super::{CardProfile, Skill, put};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The longest summary of a task, in characters.
const MAX_SUMMARY: usize = 10_000;

/// The longest keyword, in bytes.
const MAX_KEYWORD: usize = 100;

/// How long a task takes if no skill says so.
const LATENCY_MS: f64 = 5_000.0;

/// Why a request is refused. `Display` is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(String);

/// What somebody asks.
struct Request {
    summary: String,
    details: String,
    input_modes: Vec<String>,
    output_modes: Vec<String>,
    required_tools: Vec<String>,
    forbidden_tools: Vec<String>,
    max_latency_ms: f64,
    min_score: f64,
    weights: Weights,
}

/// How much each part counts.
struct Weights {
    skill_match: f64,
    io_compatibility: f64,
    performance: f64,
    load: f64,
    cost: f64,
}

/// How a skill fits.
struct Match<'a> {
    skill: &'a Skill,
    score: f64,
    tags: Vec<&'a str>,
    capabilities: Vec<&'a str>,
}

/// Judges a task by its description. `busy` is how many tasks are worked on.
///
/// # Errors
/// [`BadRequest`] for a request that is not of its form.
pub fn assess(profile: &CardProfile, request: &Value, busy: usize) -> Result<Value, BadRequest> {
    let request = Request::read(request)?;
    let rejected = |reason: &str| json!({"accepted": false, "score": 0.0, "confidence": 1.0, "rejection_reason": reason});
    if profile.skills.is_empty() {
        return Ok(rejected("no_skills_advertised"));
    }
    if let Some(reason) = request.obstacle(&profile.skills) {
        return Ok(rejected(reason));
    }
    let words = keywords(&format!("{} {}", request.summary, request.details));
    let mut matches: Vec<Match<'_>> =
        profile.skills.iter().filter_map(|skill| request.matches(skill, &words)).collect();
    matches.sort_by(|one, other| other.score.total_cmp(&one.score));
    let latency = (!matches.is_empty()).then(|| latency(&profile.skills));
    if request.max_latency_ms > 0.0
        && let Some(latency) = latency.filter(|latency| *latency > request.max_latency_ms * 2.0)
    {
        let mut answer = rejected("latency_exceeds_constraint");
        put(&mut answer, "confidence", json!(0.9));
        put(&mut answer, "latency_estimate_ms", number(latency));
        return Ok(answer);
    }
    Ok(request.judge(&matches, latency, busy))
}

impl Request {
    fn read(request: &Value) -> Result<Self, BadRequest> {
        let bad = |problem: &str| Err(BadRequest(problem.to_owned()));
        let Value::Object(request) = request else { return bad("Invalid JSON payload") };
        let summary = match request.get("task_summary") {
            Some(Value::String(summary)) if !summary.is_empty() => summary.clone(),
            Some(Value::String(_) | Value::Null) | None => return bad("'task_summary' is required"),
            Some(_) => return bad("'task_summary' must be a text"),
        };
        if summary.chars().count() > MAX_SUMMARY {
            return bad("task_summary exceeds maximum length of 10000 characters");
        }
        let details = request.get("task_details").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            summary,
            details: details.chars().take(MAX_SUMMARY).collect(),
            input_modes: texts(request, "input_mime_types")?,
            output_modes: texts(request, "output_mime_types")?,
            required_tools: texts(request, "required_tools")?,
            forbidden_tools: texts(request, "forbidden_tools")?,
            max_latency_ms: amount(request, "max_latency_ms", 0.0)?,
            min_score: amount(request, "min_score", 0.0)?,
            weights: Weights::read(request.get("weights"))?,
        })
    }

    /// What makes the task impossible.
    fn obstacle(&self, skills: &[Skill]) -> Option<&'static str> {
        let some_takes = |wanted: &[String], modes: fn(&Skill) -> &[String]| {
            wanted.is_empty()
                || skills.iter().any(|skill| wanted.iter().any(|mode| modes(skill).contains(mode)))
        };
        let tools: BTreeSet<&str> = skills.iter().flat_map(|skill| skill.list("allowed_tools")).collect();
        let has = |tool: &String| tools.contains(tool.as_str());
        if !some_takes(&self.input_modes, |skill| &skill.input_modes) {
            Some("input_mime_unsupported")
        } else if !some_takes(&self.output_modes, |skill| &skill.output_modes) {
            Some("output_mime_unsupported")
        } else if !self.required_tools.iter().all(has) {
            Some("required_tool_missing")
        } else if self.forbidden_tools.iter().any(has) {
            Some("forbidden_tool_present")
        } else {
            None
        }
    }

    /// How a skill fits: the part of the words that both have, more for its specialities; `None` if not at all.
    fn matches<'a>(&self, skill: &'a Skill, words: &BTreeSet<String>) -> Option<Match<'a>> {
        let assessment = skill.field("assessment");
        let listed = |name: &str| {
            let list = assessment.and_then(|assessment| assessment.get(name)).and_then(Value::as_array);
            list.into_iter().flatten()
        };
        let said = format!("{} {}", self.summary, self.details).to_lowercase();
        let avoids =
            |pattern: &Value| pattern.as_str().is_some_and(|text| said.contains(&text.to_lowercase()));
        if listed("anti_patterns").any(avoids) {
            return None;
        }
        let capabilities = skill.field("capabilities_detail").and_then(Value::as_object);
        let capabilities: Vec<&str> =
            capabilities.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let named =
            skill.tags.iter().map(String::as_str).chain([skill.name.as_str()]).chain(capabilities.clone());
        let own: BTreeSet<String> = listed("keywords")
            .filter_map(Value::as_str)
            .map(str::to_lowercase)
            .chain(named.flat_map(keywords))
            .collect();
        let common: BTreeSet<&String> = words.intersection(&own).collect();
        let all = words.union(&own).count();
        let mut score = if all == 0 { 0.0 } else { ratio(common.len(), all) };
        let summary = self.summary.to_lowercase();
        for speciality in listed("specializations") {
            let domain = speciality.get("domain").and_then(Value::as_str).unwrap_or_default().to_lowercase();
            let boost = speciality.get("confidence_boost").and_then(Value::as_f64).unwrap_or_default();
            if !domain.is_empty() && summary.contains(&domain) {
                score = (score + boost).min(1.0);
            }
        }
        let is_common = |word: &str| common.iter().any(|common| common.as_str() == word);
        let tags = skill.tags.iter().map(String::as_str);
        let fits = Match {
            skill,
            score: rounded(score),
            tags: tags.filter(|tag| tag.to_lowercase().split_whitespace().any(is_common)).collect(),
            capabilities: capabilities
                .into_iter()
                .filter(|name| name.to_lowercase().split('_').any(is_common))
                .collect(),
        };
        (score > 0.0).then_some(fits)
    }

    fn judge(&self, matches: &[Match<'_>], latency: Option<f64>, busy: usize) -> Value {
        let best = matches.first().map_or(0.0, |best| best.score);
        let performance = match latency {
            Some(latency) if self.max_latency_ms > 0.0 => (1.0 - latency / self.max_latency_ms).max(0.0),
            _ => 1.0,
        };
        let load = rounded(1.0 / (1.0 + ratio(busy, 1)));
        let weights = &self.weights;
        let score = weights.skill_match * best
            + weights.io_compatibility
            + weights.load * load
            + weights.cost
            + weights.performance * performance;
        let is_accepted = score >= self.min_score && best > 0.0;
        let mut answer = json!({
            "accepted": is_accepted,
            "score": rounded(score),
            "confidence": self.confidence(best, !matches.is_empty()),
            "queue_depth": busy,
            "subscores": {
                "skill_match": best,
                "io_compatibility": 1.0,
                "load": load,
                "cost": 1.0,
                "performance": performance,
            },
        });
        if !is_accepted {
            put(&mut answer, "rejection_reason", json!("score_below_threshold"));
        }
        if let Some(latency) = latency {
            put(&mut answer, "skill_matches", matches.iter().map(Match::json).collect());
            put(&mut answer, "latency_estimate_ms", number(latency));
        }
        for (name, list) in [
            ("matched_tags", distinct(matches.iter().flat_map(|one| &one.tags))),
            ("matched_capabilities", distinct(matches.iter().flat_map(|one| &one.capabilities))),
        ] {
            if !list.is_empty() {
                put(&mut answer, name, json!(list));
            }
        }
        answer
    }

    /// How sure the judgement is: the more was said, the surer.
    fn confidence(&self, best: f64, has_matches: bool) -> f64 {
        let matched = match has_matches {
            true if best > 0.3 => 0.2,
            true => 0.1,
            false => 0.0,
        };
        let said_modes = !self.input_modes.is_empty() || !self.output_modes.is_empty();
        let said = [said_modes, self.max_latency_ms != 0.0, true].into_iter().filter(|said| *said).count();
        rounded((0.5 + matched + 0.1 * ratio(said, 1)).min(1.0))
    }
}

impl Match<'_> {
    fn json(&self) -> Value {
        let reasons = [("tags", &self.tags), ("capabilities", &self.capabilities)];
        let reasons = reasons.into_iter().filter(|(_, list)| !list.is_empty());
        let reasons: Vec<String> =
            reasons.map(|(name, list)| format!("{name}: {}", list.join(", "))).collect();
        json!({
            "skill_id": self.skill.id,
            "skill_name": self.skill.name,
            "score": self.score,
            "reasons": reasons,
        })
    }
}

impl Weights {
    fn read(weights: Option<&Value>) -> Result<Self, BadRequest> {
        let empty = Map::new();
        let said = weights.and_then(Value::as_object).unwrap_or(&empty);
        let weight = |name: &str, otherwise: f64| match amount(said, name, otherwise)? {
            weight if weight < 0.0 => {
                Err(BadRequest(format!("Invalid weights: Weight '{name}' must be non-negative")))
            }
            weight => Ok(weight),
        };
        let read = Self {
            skill_match: weight("skill_match", 0.55)?,
            io_compatibility: weight("io_compatibility", 0.20)?,
            performance: weight("performance", 0.15)?,
            load: weight("load", 0.05)?,
            cost: weight("cost", 0.05)?,
        };
        let total = read.skill_match + read.io_compatibility + read.performance + read.load + read.cost;
        let part = |weight: f64| if total == 0.0 { 0.2 } else { weight / total };
        Ok(Self {
            skill_match: part(read.skill_match),
            io_compatibility: part(read.io_compatibility),
            performance: part(read.performance),
            load: part(read.load),
            cost: part(read.cost),
        })
    }
}

/// The words of a text: runs of ASCII letters and digits in lower case.
fn keywords(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_ascii_lowercase() && !character.is_ascii_digit());
    words.filter(|word| (2..=MAX_KEYWORD).contains(&word.len())).map(str::to_owned).collect()
}

/// The longest time that a skill says it takes.
fn latency(skills: &[Skill]) -> f64 {
    let said = |skill: &Skill| skill.field("performance")?.get("avg_processing_time_ms")?.as_f64();
    skills.iter().filter_map(said).max_by(f64::total_cmp).unwrap_or(LATENCY_MS)
}

fn texts(request: &Map<String, Value>, name: &str) -> Result<Vec<String>, BadRequest> {
    let wrong = || BadRequest(format!("'{name}' must be a list of texts"));
    match request.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn amount(request: &Map<String, Value>, name: &str, otherwise: f64) -> Result<f64, BadRequest> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(value) => value.as_f64().ok_or_else(|| BadRequest(format!("'{name}' must be a number"))),
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for text in texts {
        if !distinct.contains(text) {
            distinct.push(text);
        }
    }
    distinct
}

#[allow(clippy::cast_precision_loss, reason = "counts of words and tasks are far below 2^53")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// Four digits behind the point.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// A number as it was written: whole ones without a point.
fn number(number: f64) -> Value {
    #[allow(clippy::cast_possible_truncation, reason = "whole and in range, as was just seen")]
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> CardProfile {
        let skill = |fields: Value| Skill::read(&fields).expect("a skill");
        CardProfile {
            skills: vec![
                skill(json!({
                    "id": "pdf-processing-v1", "name": "pdf-processing", "description": "d", "tags": ["pdf", "documents"],
                    "input_modes": ["application/pdf"], "output_modes": ["text/plain", "application/json"],
                    "capabilities_detail": {"text_extraction": {"supported": true}},
                    "performance": {"avg_processing_time_ms": 2000}, "allowed_tools": ["Read"],
                    "assessment": {
                        "keywords": ["pdf", "extract", "document"],
                        "specializations": [{"domain": "invoice", "confidence_boost": 0.3}],
                        "anti_patterns": ["pdf editing"],
                    },
                })),
                skill(json!({"name": "summary", "description": "d", "tags": ["text"]})),
                skill(json!({"name": "inline", "description": "d"})),
            ],
            ..CardProfile::default()
        }
    }

    /// What Python Bindu 2026.36.7 answered to the same skills.
    #[test]
    fn judgements_are_python_bindus() {
        let recorded: Vec<Value> =
            serde_json::from_str(include_str!("negotiation_recorded.json")).expect("JSON");
        assert!(recorded.len() > 10);
        // Python's are sets: their order is not the same at two starts.
        let in_order = |mut answer: Value| {
            for name in ["matched_tags", "matched_capabilities"] {
                if let Some(Value::Array(list)) = answer.get_mut(name) {
                    list.sort_by_key(Value::to_string);
                }
            }
            answer
        };
        for case in recorded {
            let answer = assess(&profile(), &case["request"], 0);
            match case.get("error") {
                Some(error) => assert_eq!(json!(answer.expect_err("refused").to_string()), *error),
                None => {
                    let want = in_order(case["answer"].clone());
                    assert_eq!(in_order(answer.expect("an answer")), want, "{}", case["request"]);
                }
            }
        }
    }

    /// Python Bindu answers these with 500.
    #[test]
    fn what_is_not_of_its_form_is_the_callers_mistake() {
        for odd in [
            json!([]),
            json!("pdf"),
            json!({"task_summary": 5}),
            json!({"task_summary": "pdf", "weights": {"skill_match": "x"}}),
            json!({"task_summary": "pdf", "input_mime_types": "application/pdf"}),
            json!({"task_summary": "pdf", "max_latency_ms": "soon"}),
            json!({"task_summary": "x".repeat(10_001)}),
        ] {
            assert!(assess(&profile(), &odd, 0).is_err(), "{odd:.60}");
        }
        assert!(assess(&profile(), &json!({"task_summary": "é".repeat(10_000)}), 0).is_ok());
        let none = assess(&CardProfile::default(), &json!({"task_summary": "pdf"}), 0).expect("an answer");
        assert_eq!(none["rejection_reason"], "no_skills_advertised");
    }
}
