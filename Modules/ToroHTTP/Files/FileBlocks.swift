import ToroCore

/// A part of a file on its way to a client, block by block: while one block is sent, the next one
/// is read.
///
/// The last block is held back until the file is known to be the version that the head tells of:
/// whoever has all bytes has them of one version.
@Core final class FileBlocks {
    private let file: any OpenFile
    private let budget: BlockBudget
    private let service: HTTPService
    /// The version that is sent.
    private let attributes: FileAttributes
    private var offset: UInt64
    private let end: UInt64
    private var capacityInUse = 0
    /// Whether the head is on its way.
    private var hasBegun = false
    /// The blocks that are free, and the one that was read and is to be sent.
    private var free: IOBuffer?
    private var spare: IOBuffer?
    private var filled: IOBuffer?
    /// Resumed when the block under way from the file is here.
    private var reading: Waiter<Bool>?
    /// Why no more is sent.
    private(set) var failure: HTTPError?
    /// The file's attributes at the end, if it is another version by then.
    private(set) var newVersion: FileAttributes?

    init(
        _ file: any OpenFile, _ attributes: FileAttributes, _ range: Range<UInt64>,
        _ budget: BlockBudget, _ service: HTTPService
    ) {
        self.file = file
        self.attributes = attributes
        self.budget = budget
        self.service = service
        offset = range.lowerBound
        end = range.upperBound
    }

    deinit {
        let (budget, service, capacity) = (budget, service, capacityInUse)
        guard capacity > 0 else { return }
        Core.assumeIsolated { FileBlocks.end(capacity, budget, service) }
    }

    /// The answer needs no more memory; it had so much for blocks.
    private static func end(_ capacity: Int, _ budget: BlockBudget, _ service: HTTPService) {
        service.answers -= 1
        budget.release(capacity)
    }

    /// Whether all of it has been read, of one version.
    var isWhole: Bool { offset == end && failure == nil }

    /// Reads the first block, and looks at the file's version if that was all, or the file has
    /// become shorter.
    func begin() async {
        guard offset < end else { return }
        guard let block = await budget.waitAndTake(end - offset, service) else {
            failure = .outOfMemory
            return
        }
        take(block)
        let wanted = min(end - offset, UInt64(capacityInUse))
        let start = offset
        await read()
        // Whoever found no memory for the read finds none for that.
        if failure != .outOfMemory, offset < end, offset - start < wanted { await check() }
    }

    private func take(_ block: consuming IOBuffer) {
        service.answers += 1
        capacityInUse += block.capacity
        free = consume block
    }

    /// Writes all of it. Throws `.incompleteBody` if the file cannot be read, or is another version
    /// by now.
    func send(to writer: HTTPBodyWriter) async throws(HTTPError) {
        hasBegun = true
        readAhead()
        while true {
            // Without the block, the writer notices that bytes are owed.
            if let reading {
                _ = await reading.wait(cancelled: false)
            } else if filled == nil {
                await read()
            }
            guard let block = next() else { break }
            await write(block, to: writer)
        }
        file.close()
        giveBack()
        if let failure { throw failure }
    }

    /// Takes a second block to read ahead into, if there is enough to read.
    private func readAhead() {
        guard offset < end, budget.allowsReadAhead, let block = budget.take(end - offset) else {
            return
        }
        capacityInUse += block.capacity
        spare = consume block
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
        let lastTry = service.clock.now + patience
        while failure == nil, offset < end, let block = free.take() {
            guard arrived(await file.read(into: block, at: offset)) else {
                if isWhole { await check() }
                return
            }
            guard await waitForMemory(until: lastTry) else {
                failure = .outOfMemory
                return
            }
        }
    }

    /// How long the file is asked again for want of memory. Once the head is out, to give up cuts the
    /// answer: others have theirs by then, or have stalled for as long as ``HTTPLimits/sendTime``.
    private var patience: TimeSpan { hasBegun ? .seconds(300) : .seconds(20) }

    /// Waits a little for memory; false if there is no more time for that.
    private func waitForMemory(until lastTry: Instant) async -> Bool {
        // There is some as soon as somebody else's answer is out.
        dropSpare()
        service.giveMemory()
        guard await service.pause(.milliseconds(100)) else { return false }
        return service.clock.now < lastTry
    }

    /// Gives the second block back: what it is for is speed.
    private func dropSpare() {
        let capacity = FileBlocks.discard(spare.take())
        capacityInUse -= capacity
        budget.release(capacity)
    }

    /// Takes what was read, which is at least one byte; true if it is to be tried again.
    private func arrived(_ done: consuming Completed<FileError>) -> Bool {
        let result = done.result
        var block = done.take()
        switch result {
        case .success(let count) where count > 0: break
        case .success:
            failure = failure ?? .incompleteBody
            return false
        case .failure(let error):
            let isScarce = error.isScarcity
            if isScarce, block.capacity > 0 {
                free = consume block
                return true
            }
            failure = failure ?? (isScarce ? .outOfMemory : .incompleteBody)
            return false
        }
        // The file may have grown, or the block may be larger than what is left.
        if UInt64(block.count) > end - offset { block.truncate(to: Int(end - offset)) }
        offset += UInt64(block.count)
        filled = consume block
        return false
    }

    /// Asks whether the file is still the version that is sent; after that it is not needed if all
    /// was read.
    private func check() async {
        let lastTry = service.clock.now + patience
        while true {
            do throws(FileError) {
                let now = try await file.currentAttributes()
                if !now.isSameVersion(as: attributes) {
                    newVersion = now
                    failure = .incompleteBody
                }
                break
            } catch {
                if error.isScarcity, await waitForMemory(until: lastTry) { continue }
                failure = failure ?? (error.isScarcity ? .outOfMemory : .incompleteBody)
                break
            }
        }
        // A client that reads slowly is no reason to keep the host's descriptors.
        if isWhole { file.close() }
    }

    /// Ends a buffer's life; its capacity.
    private static func discard(_ block: consuming IOBuffer?) -> Int { block?.capacity ?? 0 }

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

    /// Gives the memory to those who wait for it.
    private func giveBack() {
        free = nil
        spare = nil
        filled = nil
        guard capacityInUse > 0 else { return }
        FileBlocks.end(capacityInUse, budget, service)
        capacityInUse = 0
    }
}

/// How often somebody tries again to get what is scarce, and when: after 0.1 s, 0.2 s … 3.2 s.
///
/// Not for a crowd that waits for one another's memory: see ``BlockBudget``.
struct Patience {
    private var pause = TimeSpan.milliseconds(100)

    /// Waits for the next try; false if there were enough, if trying again does not help against
    /// `error`, or the task is cancelled.
    @Core mutating func wait(for error: FileError, _ service: HTTPService) async -> Bool {
        guard error.isScarcity, pause <= .milliseconds(3_200) else { return false }
        let time = pause
        pause = TimeSpan(nanoseconds: 2 * pause.nanoseconds)
        // Somebody who rests holds memory.
        if error == .outOfMemory { service.giveMemory() }
        return await service.pause(time)
    }
}
