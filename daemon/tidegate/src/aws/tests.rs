//! What a failed call means, and whose time it is.

use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use elb::operation::modify_listener::ModifyListenerError;

use super::*;

type Failed = SdkError<ModifyListenerError, HttpResponse>;

/// An answer of AWS with this code.
fn coded(code: &str, message: &str) -> Failed {
    let error = ModifyListenerError::generic(ErrorMetadata::builder().code(code).message(message).build());
    let status = 400u16.try_into().unwrap();
    SdkError::service_error(error, HttpResponse::new(status, SdkBody::empty()))
}

fn told(error: &Failed) -> (Retry, String) {
    let error = failed("balancer", "change the listener's default action", error);
    (error.retry, error.source.to_string())
}

#[test]
fn what_is_refused_for_good_is_told_from_what_may_yet_be_done() {
    // Proves which failures a write is repeated after, and that AWS's own code and words reach the operator.
    let (retry, text) = told(&coded("AccessDenied", "User is not authorized to perform: ModifyListener"));
    assert_eq!(retry, Retry::Never);
    assert_eq!(
        text,
        "cannot change the listener's default action: AccessDenied: User is not authorized to perform: ModifyListener; \
         `tidegate aws iam` prints the permissions that are needed"
    );
    for code in ["ListenerNotFound", "TargetGroupNotFound", "ValidationError", "InvalidLoadBalancerAction"] {
        assert_eq!(told(&coded(code, "")).0, Retry::Never, "{code}");
    }
    for code in ["Throttling", "InternalFailure", "ServiceUnavailable", "ExpiredToken", "SomethingNew"] {
        assert_eq!(told(&coded(code, "")).0, Retry::Later, "{code}");
    }
    assert!(told(&coded("ExpiredToken", "")).1.ends_with("renew the credentials"));
}

#[test]
fn an_unknown_outcome_is_called_unknown() {
    // Proves that a time-out and a lost connection are never final: the write may have landed.
    let lost = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    for error in [
        SdkError::timeout_error("slow"),
        SdkError::dispatch_failure(ConnectorError::io(lost().into())),
        SdkError::dispatch_failure(ConnectorError::timeout(lost().into())),
    ] {
        let (retry, text) = told(&error);
        assert_eq!(retry, Retry::Later);
        assert!(text.contains("may have been done all the same"), "{text}");
    }
    let (retry, text) = told(&SdkError::dispatch_failure(ConnectorError::other("no credentials".into(), None)));
    assert_eq!(retry, Retry::Later);
    assert!(text.contains("no answer") && !text.contains("may have been done"), "{text}");
}

#[test]
fn the_time_of_aws_is_followed_and_does_not_flicker() {
    // Proves that a clock that is off is corrected, and that the whole seconds of the header do not move it to and fro.
    let clock = AwsClock::default();
    let now = Timestamp(1_800_000_000_400);
    clock.hear(Timestamp(1_800_000_000_000), now);
    assert_eq!(clock.at(now), now);
    clock.hear(Timestamp(1_800_000_090_000), now);
    assert_eq!(clock.ahead_millis(), 89_600);
    clock.hear(Timestamp(1_800_000_091_000), now.plus(Duration::from_millis(600)));
    assert_eq!(clock.ahead_millis(), 89_600);
    clock.hear(Timestamp(1_799_999_940_000), now);
    assert_eq!(clock.at(now), Timestamp(1_799_999_940_000));
}
