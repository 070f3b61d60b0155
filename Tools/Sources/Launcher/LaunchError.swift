/// Why the launcher cannot go on: a message for the person at the terminal, and an exit status.
public struct LaunchError: Error, CustomStringConvertible, Equatable {
    /// What was wrong and what to do.
    public let description: String
    /// The exit status of `toro`: 64 for wrong usage, 69 for a missing program, 125 when a part of
    /// the run failed, 128 + n after signal n.
    public let status: Int32

    /// An error with that message and status.
    public init(_ description: String, status: Int32 = 125) {
        self.description = description
        self.status = status
    }

    /// The user asked for what is not possible.
    public static func usage(_ text: String) -> LaunchError { LaunchError(text, status: 64) }
    /// A program that is needed is not installed.
    public static func missing(_ text: String) -> LaunchError { LaunchError(text, status: 69) }

    /// The same error, with further words behind it.
    func with(_ details: [String]) -> LaunchError {
        LaunchError(([description] + details).joined(separator: "; "), status: status)
    }
}
