//! The form of a hint: words, and below them one command or one setting a line.

use std::fmt;

/// How to fix something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint(Vec<Line>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// What the lines below are for.
    Words(String),
    /// A command, ready to be copied; a placeholder is in capitals.
    Command(String),
    /// A flag, a variable, or a rule of a policy.
    Setting(String),
}

impl Hint {
    /// A hint that begins with these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    /// Adds a line of words.
    #[must_use]
    pub fn words(self, words: impl Into<String>) -> Self {
        self.with(Line::Words(words.into()))
    }

    /// Adds a command.
    #[must_use]
    pub fn command(self, command: impl Into<String>) -> Self {
        self.with(Line::Command(command.into()))
    }

    /// Adds a setting.
    #[must_use]
    pub fn setting(self, setting: impl Into<String>) -> Self {
        self.with(Line::Setting(setting.into()))
    }

    /// If there is something to type: a command or a setting.
    #[must_use]
    pub fn is_practical(&self) -> bool {
        self.0.iter().any(|line| matches!(line, Line::Command(_) | Line::Setting(_)))
    }

    fn with(mut self, line: Line) -> Self {
        self.0.push(line);
        self
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            match line {
                Line::Words(words) => f.write_str(words)?,
                Line::Command(line) | Line::Setting(line) => write!(f, "  {line}")?,
            }
        }
        Ok(())
    }
}

impl From<Hint> for String {
    fn from(hint: Hint) -> Self {
        hint.to_string()
    }
}
