//! What a document of another form becomes here: anchors, statements and lists, to be added to `trust.json`.

use super::{Listing, Scope, SignerAnchor, Statement, TrustFile};

/// What is to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addition {
    /// Anchors of signatures.
    pub signers: Vec<SignerAnchor>,
    /// Statements.
    pub statements: Vec<Statement>,
    /// Entries of the allow list.
    pub allow: Vec<Listing>,
    /// What the deployer should know of it.
    pub notes: Vec<String>,
}

/// Why it is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdditionError {
    /// Another statement is there.
    #[error("there is another statement for \"{scope}\" already{}", from.as_ref().map(|f| format!(", from {f}")).unwrap_or_default())]
    Statement {
        /// Its scope.
        scope: Scope,
        /// The file that it was imported from.
        from: Option<String>,
    },
    /// Another anchor of that name is there.
    #[error("there is another anchor with the id {0} already")]
    Anchor(String),
}

impl Addition {
    /// Add an anchor, unless it is there.
    pub fn trust(&mut self, anchor: SignerAnchor) {
        if !self.signers.iter().any(|a| a.id == anchor.id) {
            self.signers.push(anchor);
        }
    }
}

impl TrustFile {
    /// Add all of it, or nothing. What is there already stays as it is; a statement for a scope that has another one is not replaced.
    ///
    /// # Errors
    /// Another statement for one of the scopes, another anchor of one of the names.
    pub fn add(&mut self, addition: &Addition) -> Result<(), AdditionError> {
        let mut after = self.clone();
        for anchor in &addition.signers {
            match after.signers.iter().find(|a| a.id == anchor.id) {
                None if after.anchors.iter().any(|a| a.id == anchor.id) => {
                    return Err(AdditionError::Anchor(anchor.id.as_str().to_owned()));
                }
                None => after.signers.push(SignerAnchor { origin: self.origin.clone(), ..anchor.clone() }),
                Some(old) if old.says_the_same(anchor) => {}
                Some(_) => return Err(AdditionError::Anchor(anchor.id.as_str().to_owned())),
            }
        }
        for statement in &addition.statements {
            let new = Statement { origin: self.origin.clone(), ..statement.clone() };
            match after.statements.iter().find(|s| s.scope.is_same(&new.scope)) {
                None => after.statements.push(new),
                Some(old) if *old == new => {}
                Some(old) => {
                    let (scope, from) = (old.scope.clone(), old.imported_from.clone());
                    return Err(AdditionError::Statement { scope, from });
                }
            }
        }
        for listing in &addition.allow {
            let new = Listing { origin: self.origin.clone(), ..listing.clone() };
            if !after.allow.contains(&new) {
                after.allow.push(new);
            }
        }
        *self = after;
        Ok(())
    }
}
