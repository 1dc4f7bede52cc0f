//! Validators: rules, and the rows that break them.

use crate::export::common;
use crate::{Batch, Expression, Result};

/// How severe it is that a rule is broken.
pub use crate::bindings::validator::exports::dataflare::plugin::validator::Severity;

/// Violations of a rule that are reported for a batch; all are counted.
pub(crate) const MOST_REPORTED: usize = 100;

/// A rule that rows must keep: `Rule::new("adult", col("age").ge(18))`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// An expression that is true for good rows; rows where it is null are good too. Without one, write
    /// [`Validator::validate`].
    pub holds: Option<Expression>,
    /// One line that says what must hold.
    pub description: String,
    /// How severe it is that it is broken.
    pub severity: Severity,
    /// The column that it is about.
    pub column: Option<String>,
}

impl Rule {
    /// A rule of the severity `error`.
    pub fn new(name: impl Into<String>, holds: impl Into<Option<Expression>>) -> Self {
        let (name, holds) = (name.into(), holds.into());
        Self { name, holds, description: String::new(), severity: Severity::Error, column: None }
    }

    /// Say what must hold.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Say how severe it is.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Say which column it is about.
    pub fn column(mut self, name: impl Into<String>) -> Self {
        self.column = Some(name.into());
        self
    }
}

/// A row that breaks a rule; `row` is `None` for the batch as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The rule's name.
    pub rule: String,
    /// The row, from 0.
    pub row: Option<usize>,
    /// What is wrong; empty for the rule's description.
    pub message: String,
}

/// Checks batches.
pub trait Validator: Sized + 'static {
    common!();

    /// The rules.
    fn rules(&self) -> Vec<Rule>;

    /// The rows that break a rule: those for which its expression is false.
    fn validate(&mut self, batch: &Batch) -> Result<Vec<Violation>> {
        let rules: Vec<(String, String, Expression)> =
            self.rules().into_iter().enumerate().filter_map(|(place, rule)| Some((place.to_string(), rule.name, rule.holds?))).collect();
        let checked = batch.select_expressions(rules.iter().map(|(place, _, holds)| (place.as_str(), !holds.clone())))?;
        let mut found = Vec::new();
        for (place, rule, _) in &rules {
            let broken = checked.column::<bool>(place)?;
            // A null has the value false.
            let rows = broken.values().iter().enumerate().filter(|(_, broken)| **broken);
            found.extend(rows.map(|(row, _)| Violation { rule: rule.clone(), row: Some(row), message: String::new() }));
        }
        Ok(found)
    }
}
