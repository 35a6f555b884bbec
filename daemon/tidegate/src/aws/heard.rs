//! What answers say beside what the SDK makes of them: AWS's time, and the very bytes.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use cutover::Timestamp;

use super::AwsClock;
use crate::clock::Clock;
use crate::events;

/// The time in a `Date` field, in whole seconds.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(text, Format::HttpDate).ok()?;
    Some(Timestamp(date.secs().saturating_mul(1_000)))
}

/// Takes AWS's time from the `Date` of each answer, and counts the calls.
#[derive(Clone, Debug)]
pub(super) struct Dated {
    aws: AwsClock,
    ours: Clock,
}

impl Dated {
    pub(super) const fn new(aws: AwsClock, ours: Clock) -> Self {
        Self { aws, ours }
    }
}

impl Intercept for Dated {
    fn name(&self) -> &'static str {
        "AWS's time"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Metadata>() {
            events::AwsCalled { service: call.service(), operation: call.name() }.emit();
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(said) = context.response().headers().get("date").and_then(date) {
            self.aws.hear(said, self.ours.now());
        }
        Ok(())
    }
}

/// Keeps the body of the answer to one call. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Raw(Arc<Mutex<Option<String>>>);

impl Raw {
    /// The body, if an answer came.
    pub fn take(&self) -> Option<String> {
        self.0.lock().ok().and_then(|mut body| body.take())
    }
}

impl Intercept for Raw {
    fn name(&self) -> &'static str {
        "the raw answer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if let Ok(mut kept) = self.0.lock() {
            *kept = body;
        }
        Ok(())
    }
}
