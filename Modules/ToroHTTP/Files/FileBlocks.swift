import ToroCore

/// The memory that the bodies of files may take.
///
/// The budget belongs to all connections of a server. When it is nearly used up blocks become
/// small and nothing is read ahead, so that hundreds of clients fit into a small guest.
@Core final class BlockBudget {
    private static var smallest: Int { 4_096 }
    private static var largest: Int { 65_536 }

    /// The bytes that are not in use; below zero by at most the smallest block per connection.
    private(set) var free: Int

    init(bytes: Int) { free = bytes }

    /// A buffer for a block of a file of which `wanted` bytes are left; nil if there is no
    /// memory. Its memory must be given back with `release`.
    func take(_ wanted: UInt64) -> IOBuffer? {
        var size = min(BlockBudget.largest, Int(min(wanted, UInt64(BlockBudget.largest))))
        // A quarter of what is free at most: the later ones get less, but they get some.
        size = min(size, max(BlockBudget.smallest, free / 4))
        while true {
            if let buffer = try? IOBuffer(capacity: size) {
                free -= buffer.capacity
                return buffer
            }
            guard size > BlockBudget.smallest else { return nil }
            size /= 4
        }
    }

    /// Whether a further block may be taken only to go faster.
    var allowsReadAhead: Bool { free >= 4 * BlockBudget.largest }

    /// Counts a buffer of this capacity as free.
    func release(_ capacity: Int) { free += capacity }
}

/// A part of a file on its way to a client, block by block: while one block is sent, the next one
/// is read.
@Core final class FileBlocks {
    private let file: any OpenFile
    private let budget: BlockBudget
    private var offset: UInt64
    private let end: UInt64
    private var capacityInUse = 0
    /// The blocks that are free, and the one that was read and is to be sent.
    private var free: IOBuffer?
    private var spare: IOBuffer?
    private var filled: IOBuffer?
    /// Resumed when the block under way from the file is here.
    private var reading: Waiter<Bool>?
    private var failure: HTTPError?

    init(_ file: any OpenFile, _ range: Range<UInt64>, _ budget: BlockBudget) {
        self.file = file
        self.budget = budget
        offset = range.lowerBound
        end = range.upperBound
    }

    deinit {
        let budget = budget
        let capacity = capacityInUse
        Core.assumeIsolated { budget.release(capacity) }
    }

    /// Writes all of it. Throws `.incompleteBody` if the file cannot be read, or has shrunk.
    func send(to writer: HTTPBodyWriter) async throws(HTTPError) {
        begin()
        while true {
            // Without the block, the writer notices that bytes are owed.
            if let reading { _ = await reading.wait(cancelled: false) } else { await read() }
            guard let block = next() else { break }
            await write(block, to: writer)
        }
        file.close()
        if let failure { throw failure }
    }

    /// Takes one block, or a second one to read ahead into.
    private func begin() {
        guard offset < end else { return }
        free = newBlock()
        guard let block = free.take() else {
            failure = .outOfMemory
            return
        }
        if end - offset > UInt64(block.capacity), budget.allowsReadAhead { spare = newBlock() }
        free = consume block
    }

    /// The block to send; nil at the end, and after a failure. The next one is on its way then, if
    /// there is a second block.
    private func next() -> IOBuffer? {
        reading = nil
        guard failure == nil, let block = filled.take() else { return nil }
        guard offset < end, let other = spare.take() else { return block }
        free = consume other
        let isRead = Waiter<Bool>()
        reading = isRead
        Core.spawn {
            await self.read()
            isRead.resume(true)
        }
        return block
    }

    /// Reads the next block, if there is something to read and a block for it.
    private func read() async {
        guard failure == nil, offset < end, let block = free.take() else { return }
        arrived(await file.read(into: block, at: offset))
    }

    /// Takes what was read, which is at least one byte.
    private func arrived(_ done: consuming Completed<FileError>) {
        guard case .success(let count) = done.result, count > 0 else {
            failure = failure ?? .incompleteBody
            return
        }
        var block = done.take()
        // The file may have grown, or the block may be larger than what is left.
        if UInt64(block.count) > end - offset { block.truncate(to: Int(end - offset)) }
        offset += UInt64(block.count)
        filled = consume block
    }

    private func write(_ block: consuming IOBuffer, to writer: HTTPBodyWriter) async {
        do throws(HTTPError) {
            sent(try await writer.write(block))
        } catch {
            failure = error
        }
    }

    /// Keeps a block that was sent for the next one.
    private func sent(_ block: consuming IOBuffer) {
        if reading == nil { free = consume block } else { spare = consume block }
    }

    private func newBlock() -> IOBuffer? {
        guard let buffer = budget.take(end - offset) else { return nil }
        capacityInUse += buffer.capacity
        return buffer
    }
}
