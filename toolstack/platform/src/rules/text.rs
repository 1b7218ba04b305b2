//! The text itself.

use super::rules;

rules! {
    /// The text is not TOML.
    SYNTAX = "AVPS0001", "syntax", Error,
        help "correct the TOML at this place; https://toml.io describes the format",
        why "Nothing can be said about a document that cannot be read.",
        source "TOML 1.0";
    /// A key no version of the schema knows.
    UNKNOWN_KEY = "AVPS0002", "unknown-key", Error,
        help "remove the key or correct its name",
        why "A misspelt key that is ignored leaves the default in force, and nobody notices: \
             a read-only disk would be writable.",
        source "platform document, schema avps/1";
    /// A value of another type than the key wants.
    WRONG_TYPE = "AVPS0003", "wrong-type", Error,
        help "give a value of the type that the message names",
        why "Values are not converted silently: \"1\" and 1 may mean different things.",
        source "platform document, schema avps/1";
    /// A key that has to be there is not.
    MISSING_KEY = "AVPS0004", "missing-key", Error,
        help "add the key",
        why "There is no default that would be right for everybody.",
        source "platform document, schema avps/1";
    /// The document says it follows a schema this program does not know.
    SCHEMA = "AVPS0005", "unknown-schema", Error,
        help "this program reads schema = \"avps/1\"",
        why "A document of another version may mean something else by the same words.",
        source "platform document, schema avps/1";
    /// A word that is none of the possible ones.
    UNKNOWN_WORD = "AVPS0006", "unknown-word", Error,
        help "use one of the values that the message names",
        why "This key takes only certain values, so that typing mistakes are found.",
        source "platform document, schema avps/1";
    /// A text that is not a size.
    SIZE = "AVPS0007", "size", Error,
        help "write a whole number and a binary unit: \"128MiB\"",
        why "A number without a unit, or with a decimal one, is read differently by different people.",
        source "platform document, schema avps/1";
    /// Larger than any document written by people.
    TOO_LONG = "AVPS0008", "document-too-long", Error,
        help "name the *.avps.toml file; was a disk image given instead?",
        why "A document may have at most 1 MiB, so that avpsctl does not load a large file by mistake.",
        source "this project's design: memory is bounded";
    /// A text that does not have the form its key wants.
    UNREADABLE = "AVPS0009", "unreadable-value", Error,
        help "write it in the form that the message names",
        why "avpsctl does not guess what an unreadable value means.",
        source "platform document, schema avps/1";
    /// The machine's device tree cannot be read.
    DEVICE_TREE_UNREADABLE = "AVPS0010", "device-tree-unreadable", Error,
        help "name the machine's .dtb file; a relative path begins at the document's folder",
        why "Without the device tree the layout cannot be checked against the machine. Errors would show only at \
             boot.",
        source "platform document, schema avps/1";
    /// The machine's device tree is none.
    DEVICE_TREE_BROKEN = "AVPS0011", "device-tree-broken", Error,
        help "compile the source with dtc -I dts -O dtb, or copy the file again",
        why "Xen reads the same device tree. If it is broken, Xen stops before it can print anything.",
        source "Devicetree Specification 0.4, chapter 5; Xen: xen/common/device-tree/bootfdt.c";
}
