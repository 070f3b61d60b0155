/// A service: what an application writes.
///
/// A microservice names protocols (``FileSystem``, ``Listener``, ``ByteStream``) only; an
/// appliance wires it to the units of a platform.
@Core public protocol Microservice {
    /// How it fails; `Never` for one that does not.
    associatedtype Failure: ToroError

    /// Serves. When it returns the machine powers off with exit status 0; when it throws, the
    /// error's explanation is printed and the exit status is 1.
    func run() async throws(Failure)
}

/// Why an appliance could not be put together.
public enum WiringError: ToroError, Equatable {
    /// The machine has no such device: what was looked for and what to give the launcher, and the
    /// name it was looked for by, if any.
    case missingDevice(String, name: StaticString = "")
    /// A device is there but not usable: what it is and what is wrong.
    case unusableDevice(String)
    /// An argument of the command line is missing or wrong.
    case badArgument(String)
    /// No memory for a device's rings and buffers.
    case outOfMemory(OutOfMemory)

    /// What was wrong and what to do, but for the ``name``: an image that only prints it does
    /// without the code that joins strings.
    public var explanation: String {
        switch self {
        case .missingDevice(let what, _), .unusableDevice(let what), .badArgument(let what): what
        case .outOfMemory: "out of memory for a device's rings and buffers; give the guest more"
        }
    }

    /// The name of what is missing; empty if it has none.
    public var name: StaticString {
        if case .missingDevice(_, let name) = self { name } else { "" }
    }

    /// Whether both say the same.
    public static func == (left: WiringError, right: WiringError) -> Bool {
        left.explanation == right.explanation && left.name.description == right.name.description
    }
}
