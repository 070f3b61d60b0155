import ToroCore

/// What goes wrong in an ``InMemoryFileSystem``, as a test orders it.
///
/// Every call of the file system, its files and its directories is one operation; they are
/// counted from 1, and each passes this one place.
@Core public final class FileFaults {
    /// The operations that have begun.
    public private(set) var operations = 0

    /// The most bytes that one read delivers even though the file goes on; nil for no limit. This
    /// breaks the promise of ``ToroCore/OpenFile`` and shows whether a caller relies on it too
    /// much.
    public var maximumReadLength: Int?

    /// Called with the number of each operation before it is done: the place to change a file
    /// between two calls.
    public var onOperation: (@Core (Int) -> Void)?

    /// What each operation fails with while it is set, but for those that close something.
    public var failure: FileError?

    private var failures: [(operation: Int, error: FileError)] = []
    private var holding = false
    private var waiters: [Waiter<Bool>] = []

    init() {}

    /// Makes the operation with this number fail.
    public func fail(operation number: Int, with error: FileError) {
        failures.append((number, error))
    }

    /// Makes the operation after those that have begun fail.
    public func failNext(with error: FileError) { fail(operation: operations + 1, with: error) }

    /// Makes all further operations wait until `release`.
    public func hold() { holding = true }

    /// The operations that wait.
    public var waiting: Int { waiters.count }

    /// Lets the waiting operations go on, in the order they came, and further ones pass.
    public func release() {
        holding = false
        let waiters = waiters
        self.waiters = []
        for waiter in waiters { waiter.resume(true) }
    }

    /// The gate that every operation passes.
    func pass() async throws(FileError) {
        operations += 1
        let number = operations
        if holding {
            let waiter = Waiter<Bool>()
            waiters.append(waiter)
            let released = await waiter.wait(cancelled: false)
            waiters.removeAll { $0 === waiter }
            if !released { throw .cancelled }
        }
        onOperation?(number)
        if let failure { throw failure }
        for failure in failures where failure.operation == number { throw failure.error }
    }
}
