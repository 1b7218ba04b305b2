//! Waivers: who answers for a finding, and until when.

use super::rules;

rules! {
    /// A waiver of a rule that does not exist.
    WAIVER_UNKNOWN_RULE = "AVPS0951", "waiver-of-unknown-rule", Error,
        help "name a rule by its id; avpsctl explain lists them",
        why "A waiver of a rule that does not exist waives nothing, but looks as if it did.",
        source "platform document, schema avps/1";
    /// A waiver of a rule that nobody can answer for.
    WAIVER_REFUSED = "AVPS0952", "waiver-refused", Error,
        help "correct what the rule is about; avpsctl explain tells why it exists",
        why "A waiver cannot change what Xen refuses or does wrong. Only rules that judge a risk can be waived.",
        source "platform document, schema avps/1";
    /// A waiver whose last day is over.
    WAIVER_EXPIRED = "AVPS0953", "waiver-expired", Warning,
        help "look at the reason again, and renew the date if it still holds; or remove the waiver and what it is about",
        why "An exception without an end is a rule that was given up without a decision.",
        source "ISO 26262-8, 8 (change management)";
    /// A waiver that no finding needs.
    WAIVER_UNUSED = "AVPS0954", "waiver-unused", Warning,
        help "remove it",
        why "It would hide the next finding of this kind, which nobody has judged.",
        source "platform document, schema avps/1";
    /// A waiver without a reason or an owner.
    WAIVER_EMPTY = "AVPS0955", "waiver-without-reason", Error,
        help "say why it is acceptable, and who answers for that",
        why "A waiver needs a reason, and an owner who is responsible for it. If one of them is missing, it only \
             hides a finding.",
        source "ISO 26262-2, 6.4.6 (safety case)";
    /// A waiver about something that is not there.
    WAIVER_SUBJECT = "AVPS0956", "waiver-of-unknown-subject", Error,
        help "name a domain, link, shared memory, event channel, network or device path of this document; or leave subject out \
              for all of them",
        why "After something was renamed, the waiver would match nothing, and nobody would notice.",
        source "platform document, schema avps/1";
}
