public import ToroCore

/// The promises of ``ToroCore/ByteStream``, tried one by one on any implementation.
///
///     let conformance = ByteStreamConformance { InMemoryStream.pair() }
///     for failure in await conformance.run() { Issue.record("\(failure)") }
///
/// Each check has a connection of its own, of which one end is under test; the other may be of
/// another kind. Either end holds at least 64 bytes that were not received. Needs no test library.
/// A stream that loses bytes or a wake-up hangs the run: put a time limit around it.
@Core public final class ByteStreamConformance<Stream: ByteStream, Peer: ByteStream> {
    private let connect: @Core () async -> (Stream, Peer)?
    private var failures: [String] = []

    /// The number of checks made so far.
    public private(set) var checks = 0
    /// The bytes that go to a slow reader: more than the stream and all below it can hold.
    public var largeLength = 1 << 19

    /// A run over connections that `connect` opens: the end under test and the other one.
    public init(_ connect: @escaping @Core () async -> (Stream, Peer)?) { self.connect = connect }

    /// Makes all checks; one sentence for each that failed.
    public func run() async -> [String] {
        await checkSizes()
        await checkTwoBuffers()
        await checkEmptyBuffers()
        await checkBothWaysAtOnce()
        await checkSlowReader()
        await checkOwnFinish()
        await checkFinishOfPeer()
        await checkClose()
        await checkCloseKeepsBytes()
        await checkCloseUnderFire()
        await checkAbort()
        await checkAbortAfterClose()
        await checkProgress()
        await checkReset()
        await checkCancelledReceive()
        await checkCancelledSend()
        return failures
    }

    /// Notes a failure unless `condition` holds.
    func expect(_ condition: Bool, _ what: String) {
        checks += 1
        if !condition { failures.append(what) }
    }

    /// Both ends of a new connection; nil, and a failure noted, if there is none.
    func open() async -> (Stream, Peer)? {
        guard let ends = await connect() else {
            expect(false, "there is no connection")
            return nil
        }
        return ends
    }

    // MARK: Bytes

    /// The bytes of the pattern in `range`: each place has its own, so none can be lost or moved.
    func pattern(_ range: Range<Int>) -> IOBuffer? {
        guard var buffer = try? IOBuffer(capacity: range.count) else {
            expect(false, "no memory for a buffer")
            return nil
        }
        for offset in range { buffer.append(FileSystemRecipe.pattern(at: offset)) }
        return buffer
    }

    /// Sends the bytes of the pattern in `range`, the first `ahead` of them as a head if that is
    /// not nil; what went wrong.
    func send<End: ByteStream>(
        _ range: Range<Int>, ahead: Int? = nil, on stream: End
    ) async -> StreamError? {
        let middle = range.lowerBound + (ahead ?? 0)
        guard let body = pattern(middle..<range.upperBound) else { return .outOfMemory }
        guard ahead != nil else { return outcome(await stream.send(body), range) }
        guard let head = pattern(range.lowerBound..<middle) else { return .outOfMemory }
        return outcome(await stream.send(head, body), range)
    }

    private func outcome(
        _ done: consuming Completed<StreamError>, _ range: Range<Int>
    ) -> StreamError? {
        switch done.result {
        case .failure(let error): return error
        case .success(let count):
            expect(count == range.count, "a send of " + String(range.count) + " bytes: its count")
            let buffer = done.take()
            expect(buffer.isEmpty, "a buffer is not empty after it was sent")
            return nil
        }
    }

    /// Receives bytes up to the end of `range`, and notes a failure unless they are those of the
    /// pattern there.
    func receive<End: ByteStream>(_ range: Range<Int>, on stream: End, slowly: Bool = false) async {
        var place = range.lowerBound
        while place < range.upperBound {
            do throws(StreamError) {
                guard let buffer = try await stream.receive() else {
                    expect(false, "the end after " + String(place) + " bytes")
                    return
                }
                place += check(buffer, at: place)
            } catch {
                expect(false, "receive after " + String(place) + " bytes: " + error.explanation)
                return
            }
            if slowly { await settle() }
        }
        expect(place == range.upperBound, "more bytes than were sent")
    }

    private func check(_ buffer: consuming IOBuffer, at place: Int) -> Int {
        let count = buffer.count
        expect(count > 0, "a receive gave no byte")
        let isRight = buffer.withBytes { span in
            for index in 0..<span.byteCount {
                // SAFETY: index is within the span, and every byte is a UInt8.
                let byte = unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self)
                if byte != FileSystemRecipe.pattern(at: place + index) { return false }
            }
            return true
        }
        expect(isRight, "wrong bytes behind " + String(place))
        return count
    }

    /// Notes a failure unless the next receive gives nil.
    func expectEnd<End: ByteStream>(_ stream: End, _ what: String) async {
        do throws(StreamError) {
            let buffer = try await stream.receive()
            expect(buffer == nil, what + ": there are bytes")
        } catch {
            expect(false, what + ": " + error.explanation)
        }
    }

    /// How a receive fails; nil if it does not.
    func receiveError<End: ByteStream>(_ stream: End) async -> StreamError? {
        do throws(StreamError) {
            _ = try await stream.receive()
            return nil
        } catch {
            return error
        }
    }

    /// Sends until there is no room and then waits for some; how that ends.
    func flood(_ stream: Stream) async -> StreamError? {
        for _ in 0..<1024 {
            if let error = await send(0..<65_536, on: stream) { return error }
        }
        return nil
    }

    // MARK: What arrives

    private func checkSizes() async {
        guard let (stream, peer) = await open() else { return }
        var place = 0
        for size in [1, 2, 63, 64, 1000, 1024, 4031, 4032, 4033, 65_535, 65_536, 65_537, 200_001] {
            let range = place..<place + size
            let out = Task { await self.send(range, on: stream) }
            await receive(range, on: peer)
            expect(await out.value == nil, "a send of " + String(size) + " bytes fails")
            let back = Task { await self.send(range, on: peer) }
            await receive(range, on: stream)
            expect(await back.value == nil, "the peer's send of " + String(size) + " bytes fails")
            place += size
        }
        stream.close()
        peer.close()
    }

    private func checkTwoBuffers() async {
        guard let (stream, peer) = await open() else { return }
        var place = 0
        for (head, body) in [
            (1, 1), (100, 0), (0, 100), (64, 5_000), (5_000, 64), (3_000, 3_000), (70_001, 70_001),
        ] {
            let range = place..<place + head + body
            let out = Task { await self.send(range, ahead: head, on: stream) }
            await receive(range, on: peer)
            expect(await out.value == nil, "a send of head and body fails")
            place = range.upperBound
        }
        stream.close()
        peer.close()
    }

    /// No bytes are no event at the other end, least of all its end.
    private func checkEmptyBuffers() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<0, on: stream) == nil, "a send of nothing fails")
        expect(await send(0..<0, ahead: 0, on: stream) == nil, "a send of nothing twice fails")
        expect(await send(0..<1, on: stream) == nil, "a send after nothing fails")
        await receive(0..<1, on: peer)
        stream.close()
        peer.close()
    }

    private func checkBothWaysAtOnce() async {
        guard let (stream, peer) = await open() else { return }
        let range = 0..<300_007
        let out = Task { await self.send(range, on: stream) }
        let back = Task { await self.send(range, on: peer) }
        let there = Task { await self.receive(range, on: peer) }
        await receive(range, on: stream)
        await there.value
        expect(await out.value == nil, "a send fails while bytes come")
        expect(await back.value == nil, "the peer's send fails while bytes come")
        stream.close()
        peer.close()
    }

    private func checkSlowReader() async {
        guard let (stream, peer) = await open() else { return }
        let length = largeLength
        let out = Task { await self.sendParts(0..<length, on: stream) }
        await receive(0..<length, on: peer, slowly: true)
        expect(await out.value == nil, "a send to a slow reader fails")
        stream.close()
        peer.close()
    }

    /// Sends the bytes of the pattern in `range` in many calls; what went wrong.
    func sendParts<End: ByteStream>(_ range: Range<Int>, on stream: End) async -> StreamError? {
        var place = range.lowerBound
        while place < range.upperBound {
            let end = min(place + 65_536, range.upperBound)
            if let error = await send(place..<end, on: stream) { return error }
            place = end
        }
        return nil
    }
}
