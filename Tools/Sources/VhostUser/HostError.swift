import Glibc

/// A system call or a peer failed.
public struct HostError: Error, CustomStringConvertible, Equatable {
    /// What went wrong.
    public let description: String

    /// An error with that text.
    public init(_ description: String) { self.description = description }

    /// An error of the call that just failed: the text and what errno means.
    public static func system(_ text: String) -> HostError {
        // SAFETY: strerror returns a C string, which is copied at once.
        let reason = unsafe String(cString: strerror(errno))
        return HostError("\(text): \(reason)")
    }
}
