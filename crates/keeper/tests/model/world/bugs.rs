//! Bugs that are seeded on purpose.

/// What a machine could do wrong: each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Hydra hears of a secret before the store has it.
    HydraFirst,
    /// A write whose answer is lost counts as done.
    UndecidedIsDone,
    /// A create does not look if there is something.
    BlindWrite,
    /// Finding 1: a deleted record counts as deleted at the version that the disk knows.
    AnyDeletionIsOurs,
    /// Finding 2: earlier versions that cannot be read count as read.
    UnreadableIsRead,
    /// Finding 5: a directory that can't be read counts as empty.
    UnreadableIsEmpty,
    /// Finding 6: another name in Hydra counts as a chain of statements.
    NameProvesRollback,
    /// Finding 7: the directory forgets what its key replaces.
    LineageIsForgotten,
    /// Hydra's silence counts as consent.
    SilenceIsConsent,
    /// Finding 8: any other name in Hydra counts as a newer key than ours while the store is away.
    NameSupersedes,
    /// Finding 10: a 401 under another authentication method counts as a wrong secret.
    MethodIsWrongSecret,
    /// A withdrawn key stays for an overlap.
    WithdrawnIsKept,
    /// Tokens are noted as revoked though Hydra did not do it.
    RevocationIsNoted,
    /// A secret that a rotation has prepared counts as wrong.
    NextSecretIsWrong,
    /// What earlier versions had prepared does not count.
    PreparedIsForgotten,
    /// A start hears nothing of its operator's consent.
    ConsentIsLost,
    /// A fence that was lost counts as won.
    FenceIsOpen,
}
