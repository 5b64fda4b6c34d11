//! Branches of ours: where a client transaction is in its table, and what nobody can guess.

/// A branch of ours: the magic cookie, three hexadecimal numbers of up to 64 bits, two dots.
pub(super) type Branch = arrayvec::ArrayString<{ 7 + 3 * 16 + 2 }>;

/// The branch of a transaction; `secret` is what makes a response ours.
pub(super) fn branch_of(index: usize, serial: u64, secret: u64) -> Branch {
    use std::fmt::Write as _;
    let mut branch = Branch::new();
    // The longest branch fits.
    let _ = write!(branch, "z9hG4bK{index:x}.{serial:x}.{secret:016x}");
    branch
}

/// Index and serial out of a branch of ours.
pub(super) fn place_of(branch: &str) -> Option<(usize, u64)> {
    let mut parts = branch.strip_prefix("z9hG4bK")?.split('.');
    let index = usize::from_str_radix(parts.next()?, 16).ok()?;
    let serial = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some((index, serial))
}
