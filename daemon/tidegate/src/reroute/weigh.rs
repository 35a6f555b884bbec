//! The live listener's action list with a share of its new connections for one more target group.
//!
//! The groups that are there keep their proportion; nothing else in the list changes. With everything on the new path the old
//! groups first stay in the list with weight 0: their health checks go on, so that the way back needs none. They are taken
//! out at the very end, since an Application Load Balancer counts an NLB's health checks like any request.

use crate::aws::action::{self, Action, ActionError, Tuple};

/// The highest weight there is.
const WEIGHT_MAX: i64 = 999;

/// The most target groups of one action (user guide, quotas).
pub(super) const GROUPS_MAX: usize = 5;

/// `original` with `percent` (0 to 100) of new connections for `group`.
///
/// # Errors
/// When the list does not forward.
pub(super) fn with_new(original: &[Action], group: &str, percent: u8) -> Result<Vec<Action>, ActionError> {
    let old = action::groups(original)?;
    let old: Vec<Tuple> = old.into_iter().filter(|tuple| tuple.target_group_arn != group).collect();
    let percent = i64::from(percent.min(100));
    let weight = |tuple: &Tuple| i64::from(tuple.weight.unwrap_or(1)).max(0);
    let sum = old.iter().map(weight).sum::<i64>().max(1);
    let mut weights: Vec<i64> = old.iter().map(|tuple| weight(tuple) * (100 - percent)).collect();
    weights.push(sum * percent);
    let most = weights.iter().copied().max().unwrap_or(1);
    if most > WEIGHT_MAX {
        // What had a share keeps one, however small.
        for weight in &mut weights {
            *weight = (*weight * WEIGHT_MAX / most).max(i64::from(*weight > 0));
        }
    }
    let arns = old.iter().map(|tuple| tuple.target_group_arn.clone()).chain([group.to_owned()]);
    let groups: Vec<Tuple> = arns
        .zip(weights)
        .map(|(target_group_arn, weight)| Tuple { target_group_arn, weight: i32::try_from(weight).ok() })
        .collect();
    action::with_groups(original, &groups)
}

/// `original` with `group` and no other.
///
/// # Errors
/// When the list does not forward.
pub(super) fn alone(original: &[Action], group: &str) -> Result<Vec<Action>, ActionError> {
    action::with_groups(original, &[Tuple { target_group_arn: group.to_owned(), weight: Some(1) }])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn weights(original: &Value, percent: u8) -> Vec<(String, i32)> {
        let list = with_new(&action::read(original).unwrap(), "new", percent).unwrap();
        action::groups(&list).unwrap().into_iter().map(|one| (one.target_group_arn, one.weight.unwrap())).collect()
    }

    /// Proves that one group alone, and several with weights of their own, share what is left in their proportion, within
    /// what AWS takes, and that the ends are nothing and all.
    #[test]
    fn the_old_groups_share_what_is_left() {
        let alone = json!([{"Type": "forward", "TargetGroupArn": "old"}]);
        let pair = |old: i32, new: i32| vec![("old".to_owned(), old), ("new".to_owned(), new)];
        assert_eq!(weights(&alone, 10), pair(90, 10));
        assert_eq!(weights(&alone, 0), pair(100, 0));
        assert_eq!(weights(&alone, 100), pair(0, 100));
        let groups = json!([{"TargetGroupArn": "a", "Weight": "999"}, {"TargetGroupArn": "b", "Weight": "1"}]);
        let two = json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
        let shared = weights(&two, 50);
        assert_eq!(shared, [("a".to_owned(), 998), ("b".to_owned(), 1), ("new".to_owned(), 999)]);
        assert_eq!(weights(&two, 100)[..2], [("a".to_owned(), 0), ("b".to_owned(), 0)]);
        assert!(with_new(&action::read(&json!([{"Type": "redirect"}])).unwrap(), "new", 10).is_err());
    }
}
