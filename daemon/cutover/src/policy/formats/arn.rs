//! The names of things in AWS.
//!
//! An ARN says what it names, so a slip is found before anything is asked of AWS: `arn:PARTITION:elasticloadbalancing:
//! REGION:ACCOUNT:KIND/...`, as the service authorization reference of Elastic Load Balancing lists them.

use super::{Format, Input, Mistake, text_of};

/// What an ARN of Elastic Load Balancing may name, by how its last part begins.
const KINDS: [(&str, &str); 6] = [
    ("listener/app/", "a listener of an Application Load Balancer"),
    ("listener/net/", "a listener of a Network Load Balancer"),
    ("listener-rule/app/", "a rule of a listener"),
    ("targetgroup/", "a target group"),
    ("loadbalancer/app/", "an Application Load Balancer"),
    ("loadbalancer/net/", "a Network Load Balancer"),
];

/// Reads an ARN whose last part begins with `kind` and has `parts` parts, separated by `/`.
fn read(input: Input<'_>, kind: &str, parts: usize, example: &str) -> Result<String, Mistake> {
    let text = text_of(input, "an ARN", example)?;
    let wanted = KINDS.iter().find(|(begins, _)| *begins == kind).map_or("that", |(_, what)| what);
    let hint = format!("{wanted} looks like `{example}`; `tidegate aws discover` prints yours");
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = fields[..] else {
        return Err(Mistake::new(format!("`{text}` is not an ARN"), hint));
    };
    if service != "elasticloadbalancing" {
        return Err(Mistake::new(format!("this ARN is of `{service}` and not of `elasticloadbalancing`"), hint));
    }
    if !partition.starts_with("aws") || region.is_empty() || account.len() != 12 || !all_digits(account) {
        return Err(Mistake::new(format!("`{text}` lacks its partition, region or account"), hint));
    }
    if !resource.starts_with(kind) {
        let found = KINDS.iter().find(|(begins, _)| resource.starts_with(begins));
        let what = found.map_or_else(|| format!("`{resource}`"), |(_, what)| (*what).to_owned());
        return Err(Mistake::new(format!("this ARN names {what} and not {wanted}"), hint));
    }
    let fine = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if resource.split('/').count() != parts || !resource.split('/').all(fine) {
        return Err(Mistake::new(format!("`{resource}` is not the end of such an ARN"), hint));
    }
    Ok(text.to_owned())
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ARN of a listener of an Application Load Balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerArn(pub String);

impl Format for ListenerArn {
    const NAME: &'static str = "listener-arn";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str =
        "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/search/50dc6c495c0c9188/f2f7dc8efc522ab2";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        read(input, "listener/app/", 5, Self::EXAMPLE).map(Self)
    }
}

/// The ARN of a numbered rule of such a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleArn(pub String);

impl Format for RuleArn {
    const NAME: &'static str = "rule-arn";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/search/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        read(input, "listener-rule/app/", 6, Self::EXAMPLE).map(Self)
    }
}

/// The ARN of a target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroupArn(pub String);

impl Format for TargetGroupArn {
    const NAME: &'static str = "target-group-arn";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str =
        "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/ALBSourceProxy-prod-TG/73e2d6bc24d8a067";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        read(input, "targetgroup/", 3, Self::EXAMPLE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_of_another_kind_is_told_by_its_kind() {
        // Proves that each mistake says what was given and what is wanted.
        let told = |text: &str| TargetGroupArn::read(Input::Text(text)).unwrap_err().what;
        assert_eq!(
            told(ListenerArn::EXAMPLE),
            "this ARN names a listener of an Application Load Balancer and not a target group"
        );
        assert!(told("arn:aws:s3:::bucket").contains("is of `s3`"));
        assert!(told("ALBSourceProxy-prod-TG").contains("is not an ARN"));
        assert!(told("arn:aws:elasticloadbalancing:eu-central-1:12:targetgroup/a/b").contains("lacks its"));
        assert!(told("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/a").contains("not the end"));
        let net = ListenerArn::EXAMPLE.replace("listener/app", "listener/net");
        let network = ListenerArn::read(Input::Text(&net)).unwrap_err().what;
        assert!(network.contains("a listener of a Network Load Balancer"), "{network}");
    }

    #[test]
    fn arns_of_other_partitions_are_arns() {
        // Proves that China and GovCloud are not shut out.
        for partition in ["aws-cn", "aws-us-gov"] {
            for example in [ListenerArn::EXAMPLE, RuleArn::EXAMPLE, TargetGroupArn::EXAMPLE] {
                let text = example.replace("arn:aws:", &format!("arn:{partition}:"));
                let read = [
                    ListenerArn::read(Input::Text(&text)).is_ok(),
                    RuleArn::read(Input::Text(&text)).is_ok(),
                    TargetGroupArn::read(Input::Text(&text)).is_ok(),
                ];
                assert_eq!(read.iter().filter(|fine| **fine).count(), 1, "{text}");
            }
        }
    }
}
