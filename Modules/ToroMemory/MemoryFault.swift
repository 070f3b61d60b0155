/// A misuse of memory that the allocator noticed. The program is wrong and its memory in doubt: a
/// platform stops the machine with the explanation and the address.
public enum MemoryFault: Int32, Sendable {
    /// An address was freed that is no object of the heap.
    case wildPointer = 1
    /// An object was freed twice.
    case doubleFree = 2
    /// A free object was written to, or the object before it beyond its end.
    case overwrittenFreeMemory = 3
    /// Page frames were freed that are free already or were never added.
    case badFrames = 4

    /// What is told of a fault: its raw value and the address it is about. If it returns, the
    /// operation that noticed the fault does nothing (and an allocation gives no memory).
    public typealias Handler = @convention(c) (Int32, UInt) -> Void

    /// What was wrong.
    public var explanation: StaticString {
        switch self {
        case .wildPointer: "freed an address that is no heap object"
        case .doubleFree: "freed a heap object twice"
        case .overwrittenFreeMemory: "wrote to free memory, or beyond the end of an object"
        case .badFrames: "freed page frames that were not allocated"
        }
    }
}
