/// What a guest and its clients may cost the host, and how long they are waited for.
public struct GuestLimits: Sendable {
    /// The bytes kept for a client at most, beyond what its socket takes.
    public var bufferSize: Int
    /// The bytes kept for all clients of the guest at most, those included that the guest was
    /// promised room for.
    public var memoryBudget: Int
    /// The clients that are connected at most; more wait in their listener's backlog.
    public var connections: Int
    /// How long a client may take nothing of what its guest has left for it, in seconds.
    public var stallTime: Int
    /// How long a guest may take to listen on a published port, in seconds.
    public var readyTime: Int

    /// The limits of a guest that nobody knows more about.
    public init(
        bufferSize: Int = 256 << 10, memoryBudget: Int = 32 << 20, connections: Int = 4096,
        stallTime: Int = 120, readyTime: Int = 10
    ) {
        self.bufferSize = bufferSize
        self.memoryBudget = memoryBudget
        self.connections = connections
        self.stallTime = stallTime
        self.readyTime = readyTime
    }
}
