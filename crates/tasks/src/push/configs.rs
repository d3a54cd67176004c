//! Push configurations: what callers set, read and delete.

use crate::{Caller, ReplayKey, StoreError, TaskKey, TaskService, send::refused};
use bindu_a2a::{
    A2aError,
    call::{Answer, PushConfig},
};
use url::Url;

/// The longest URL, token, id or credentials of a configuration, in bytes.
const MAX_FIELD: usize = 4096;

/// How many configurations a page has by default, and at most.
const MAX_PAGE: usize = 100;

/// A configuration of this task, with an id. Its host is looked up when it is used, not now.
fn checked(
    mut config: PushConfig,
    task_id: &str,
    check: impl Fn(&Url) -> Result<(), String>,
) -> Result<PushConfig, A2aError> {
    let wrong = |problem: &str| Err(A2aError::Params(problem.to_owned()));
    if longest_field(&config) > MAX_FIELD {
        return wrong("a field of the push configuration is longer than 4096 bytes");
    }
    let Ok(url) = Url::parse(&config.url) else {
        return wrong("the URL of the push configuration is not valid");
    };
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return wrong("the URL of a push configuration is http or https");
    }
    if let Err(problem) = check(&url) {
        return Err(A2aError::Params(format!("the URL of the push configuration cannot be used: {problem}")));
    }
    let authentication = config.authentication.as_ref();
    let is_header = |text: &String| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let credentials = authentication.and_then(|authentication| authentication.credentials.as_ref());
    if !config.token.iter().chain(credentials).all(is_header) {
        return wrong("the token and the credentials of a push configuration are printable ASCII");
    }
    if authentication.is_some_and(|authentication| !is_scheme(&authentication.scheme)) {
        return wrong("the authentication scheme of a push configuration is a word such as Bearer");
    }
    if config.id.is_empty() {
        // As in the official SDKs.
        task_id.clone_into(&mut config.id);
    }
    task_id.clone_into(&mut config.task_id);
    Ok(config)
}

/// An HTTP authentication scheme (RFC 9110, 11.1).
fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn longest_field(config: &PushConfig) -> usize {
    let authentication = config.authentication.as_ref();
    let credentials = authentication.and_then(|authentication| authentication.credentials.as_ref());
    let scheme = authentication.map(|authentication| &authentication.scheme);
    let fields = [Some(&config.url), Some(&config.id), config.token.as_ref(), scheme, credentials];
    fields.into_iter().flatten().map(String::len).max().unwrap_or_default()
}

impl TaskService {
    /// A configuration of this task that may be kept.
    pub(crate) fn checked(&self, config: PushConfig, task_id: &str) -> Result<PushConfig, A2aError> {
        checked(config, task_id, |url| {
            self.deliveries().map_or(Ok(()), |deliveries| deliveries.sender().check(url))
        })
    }

    pub(crate) async fn create_push(
        &self,
        caller: &Caller,
        config: PushConfig,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        let key = self.push_key(caller, &config.task_id)?;
        let config = self.checked(config, &key.id)?;
        if self.is_first(&key, replay).await? {
            self.store().put_push(&key, config.clone()).await.map_err(|error| match error {
                StoreError::TooMany => A2aError::TooMany {
                    problem: "Too many push configurations of this task".to_owned(),
                    retry_after: 60,
                },
                error => refused(error),
            })?;
            self.runner().pushing.knows(&key);
        }
        Ok(Answer::Push(config))
    }

    pub(crate) async fn read_push(
        &self,
        caller: &Caller,
        task_id: &str,
        id: Option<String>,
    ) -> Result<Answer, A2aError> {
        let key = self.push_key(caller, task_id)?;
        let configs = self.store().pushes(&key).await.map_err(refused)?;
        let mut configs = configs.into_iter();
        let found = configs.find(|config| id.as_ref().is_none_or(|id| *id == config.id));
        found.map(Answer::Push).ok_or(A2aError::PushNotFound)
    }

    /// A page of a task's configurations. Its cursor is the last one's id.
    pub(crate) async fn list_pushes(
        &self,
        caller: &Caller,
        task_id: &str,
        page_size: Option<usize>,
        page_token: &str,
    ) -> Result<Answer, A2aError> {
        let key = self.push_key(caller, task_id)?;
        let mut configs = self.store().pushes(&key).await.map_err(refused)?;
        configs.retain(|config| page_token.is_empty() || *config.id > *page_token);
        let page_size = page_size.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let has_more = configs.len() > page_size;
        configs.truncate(page_size);
        let last = configs.last().filter(|_| has_more);
        let next_page_token = last.map_or_else(String::new, |config| config.id.clone());
        Ok(Answer::Pushes { configs, next_page_token })
    }

    pub(crate) async fn delete_push(
        &self,
        caller: &Caller,
        (task_id, id): (&str, Option<String>),
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        let key = self.push_key(caller, task_id)?;
        if !self.is_first(&key, replay).await? {
            return Ok(Answer::Deleted);
        }
        let configs = self.store().pushes(&key).await.map_err(refused)?;
        let meant = configs.iter().filter(|config| id.as_ref().is_none_or(|id| *id == config.id));
        let mut is_any = false;
        for config in meant {
            match self.store().delete_push(&key, &config.id).await {
                Ok(()) => is_any = true,
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        if is_any { Ok(Answer::Deleted) } else { Err(A2aError::PushNotFound) }
    }

    fn push_key(&self, caller: &Caller, task_id: &str) -> Result<TaskKey, A2aError> {
        match self.limits().push {
            true => Ok(TaskKey { owner: caller.owner(), id: task_id.to_owned() }),
            false => Err(A2aError::PushNotSupported),
        }
    }
}
