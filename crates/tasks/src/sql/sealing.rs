//! Sealing the secrets of push configurations again, when a rotation has replaced the key that they are sealed with.

use super::{
    key,
    session::{Backend, Fault, Session, Value},
    store::Core,
    stored,
    write::{Change, Done, Reply},
};
use crate::{Sealer, TaskKey, push::KeptPush};
use std::fmt;

/// How many rows are looked at, and how many written, in one transaction.
const LOOKED_AT: usize = 500;
const AT_ONCE: usize = 64;

/// How often all rows are looked at for each key. A replica that has not heard of a rotation yet may seal with the old key for a
/// while; the second look finds what it has sealed, and its own first one what it has sealed since.
const LOOKS: u8 = 2;

/// A row that was sealed again.
#[derive(Clone)]
pub(super) struct Resealed {
    task: i64,
    push: key::Hash,
    old: String,
    new: String,
}

impl fmt::Debug for Resealed {
    /// Without its texts: the old one may be in clear.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resealed").field("task", &self.task).finish_non_exhaustive()
    }
}

/// For which key the rows were looked at, and how often they will be.
#[derive(Debug, Default)]
pub(super) struct Sealing {
    key: String,
    looks: u8,
}

impl Sealing {
    /// Looks at all rows if the key is a new one, or if one more look is due for it (`is_again`).
    pub(super) async fn look<B: Backend>(&mut self, core: &Core<B>, is_again: bool) {
        let Some(sealer) = core.rules.sealer.as_deref() else { return };
        let current = sealer.current();
        let is_new = self.key != current;
        if !is_new && (self.looks == 0 || !is_again) {
            return;
        }
        match reseal(core, sealer).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "secrets of push configurations were sealed with the current key")
            }
            Err(fault) => {
                tracing::debug!(%fault, "secrets of push configurations are not sealed again yet");
                return;
            }
        }
        self.looks = if is_new { LOOKS } else { self.looks } - 1;
        self.key = current;
    }
}

/// Seals what is due; how many configurations.
async fn reseal<B: Backend>(core: &Core<B>, sealer: &dyn Sealer) -> Result<usize, Fault> {
    let (mut after, mut sealed) = ((i64::MIN, Vec::new()), 0);
    loop {
        let mut session = core.backend.read().await?;
        let page = page(&mut session, after, sealer).await?;
        session.commit().await?;
        for some in page.due.chunks(AT_ONCE) {
            if let Ok(Reply::Count(count)) = core.alone(&Change::Reseal(some.to_vec())).await?.answer {
                sealed += count;
            }
        }
        match page.last {
            Some(last) => after = last,
            None => return Ok(sealed),
        }
    }
}

struct Page {
    due: Vec<Resealed>,
    /// Where the next one begins, unless this is the last.
    last: Option<(i64, Vec<u8>)>,
}

async fn page<S: Session>(
    session: &mut S,
    (task, push): (i64, Vec<u8>),
    sealer: &dyn Sealer,
) -> Result<Page, Fault> {
    let rows = "SELECT p.task, p.push, p.config, t.owner_client, t.owner_subject, t.id
        FROM {s}bindu_pushes AS p JOIN {s}bindu_tasks AS t ON t.task = p.task
        WHERE (p.task, p.push) > ($1, $2) ORDER BY p.task, p.push LIMIT $3";
    let rows = session.rows(rows, vec![task.into(), Value::Bytes(push), LOOKED_AT.into()]).await?;
    let (mut due, mut last) = (Vec::new(), None);
    for row in &rows {
        let (task, push, old) = (row.int(0)?, row.hash(1)?, row.text(2)?);
        last = Some((task, push.to_vec()));
        let owner = key::owner_of(row.text(3)?, row.text(4)?);
        let key = TaskKey { owner, id: key::unescaped(row.text(5)?) };
        // What cannot be read or opened stays as it is: another replica may have its key.
        let Ok(kept) = stored::read_push(old) else { continue };
        if !kept.is_due(sealer) {
            continue;
        }
        let (config, is_open) = kept.open(&key, Some(sealer));
        if let Some(kept) = KeptPush::of(&config, &key, Some(sealer)).filter(|_| is_open) {
            due.push(Resealed { task, push, old: old.to_owned(), new: stored::write_push(&kept) });
        }
    }
    Ok(Page { due, last: last.filter(|_| rows.len() >= LOOKED_AT) })
}

/// Writes rows that are still what they were: a configuration that was set meanwhile is sealed with the current key anyway.
pub(super) async fn write<S: Session>(session: &mut S, all: &[Resealed]) -> Result<Done, Fault> {
    let update = "UPDATE {s}bindu_pushes SET config = $4 WHERE task = $1 AND push = $2 AND config = $3";
    let mut count = 0;
    for row in all {
        let values = vec![row.task.into(), row.push.into(), row.old.as_str().into(), row.new.as_str().into()];
        count += usize::try_from(session.execute(update, values).await?).unwrap_or(0);
    }
    Ok(Reply::Count(count).into())
}
