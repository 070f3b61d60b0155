/// An error that can explain itself to the person who runs the program.
public protocol ToroError: Error {
    /// One sentence: what was wrong and what to do.
    var explanation: String { get }
}

extension Never: ToroError {
    /// Never there to be read.
    public var explanation: String { "" }
}
