import ToroCore

extension ByteStreamConformance {
    /// What was accepted before a close arrives at a peer that reads slowly, and then the end.
    func checkCloseKeepsBytes() async {
        guard let (stream, peer) = await open() else { return }
        let length = largeLength
        let out = Task { () -> StreamError? in
            let error = await self.sendParts(0..<length, on: stream)
            stream.close()
            return error
        }
        await receive(0..<length, on: peer, slowly: true)
        expect(await out.value == nil, "a send before a close fails")
        await expectEnd(peer, "the peer's receive after our close")
        peer.close()

        // Nothing was read before the close, and both ends of ours were over already.
        guard let (whole, other) = await open() else { return }
        expect(await finish(other) == nil, "the peer's finish fails")
        expect(await send(0..<64, on: whole) == nil, "a send before a close fails")
        expect(await finish(whole) == nil, "finish before a close fails")
        await expectEnd(whole, "receive before a close")
        whole.close()
        await settle()
        await receive(0..<64, on: other)
        await expectEnd(other, "the peer's receive after our finish and close")
        other.close()
    }

    /// The same while the peer is sending, and bytes of it lie unread.
    func checkCloseUnderFire() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<64, on: peer) == nil, "the peer's send before our close fails")
        let fire = Task { await self.sendParts(0..<2_000_000, on: peer) }
        await settle()
        expect(await send(0..<64, on: stream) == nil, "a send before a close fails")
        stream.close()
        await settle()
        await receive(0..<64, on: peer)
        await expectEnd(peer, "the peer's receive after our close")
        let error = await fire.value
        expect(error == nil || error == .reset, "the peer's send after our close")
        peer.close()
    }

    /// An abort ends what is under way, and the peer sees a reset.
    func checkAbort() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<64, on: stream) == nil, "a send before an abort fails")
        let receiver = Task { await self.receiveError(stream) }
        await settle()
        stream.abort()
        expect(await receiver.value == .closed, "a receive that waits at an abort")
        expect(await receiveError(stream) == .closed, "a receive after an abort")
        expect(await send(0..<1, on: stream) == .closed, "a send after an abort")
        expect(await finish(stream) == .closed, "finish after an abort")
        stream.abort()
        stream.close()
        expect(await lastError(peer) == .reset, "the peer's receive after our abort")
        peer.close()

        guard let (full, other) = await open() else { return }
        let sender = Task { await self.flood(full) }
        await settle()
        full.abort()
        expect(await sender.value == .closed, "a send that waits at an abort")
        expect(await lastError(other) == .reset, "the peer's receive after our abort")
        other.abort()
    }

    /// A connection that lingers can still be broken off: nothing hangs.
    func checkAbortAfterClose() async {
        guard let (stream, peer) = await open() else { return }
        stream.close()
        stream.abort()
        let error = await lastError(peer)
        expect(error == nil || error == .reset, "the peer's receive after our close and abort")
        peer.abort()
    }

    /// How the peer's receiving fails in the end; nil if it comes to the stream's end.
    private func lastError(_ peer: Peer) async -> StreamError? {
        while true {
            do throws(StreamError) {
                if try await peer.receive() == nil { return nil }
            } catch {
                return error
            }
        }
    }

    /// The counts of what was accepted, and what the peer has of it.
    func checkProgress() async {
        guard let (stream, peer) = await open() else { return }
        expect(
            stream.progress == StreamProgress(accepted: 0, acknowledged: 0),
            "the progress of a new stream")
        expect(await send(0..<64, on: stream) == nil, "a send fails")
        expect(stream.progress.accepted == 64, "the bytes accepted by one send")
        await receive(0..<64, on: peer)
        await expectComplete(stream, 64, "one send")
        // A peer that reads nothing.
        let out = Task { await self.sendParts(0..<largeLength, on: stream) }
        await settle()
        let stalled = stream.progress
        expect(stalled.accepted >= 64 + 64, "no bytes accepted of a long send")
        expect(stalled.accepted < 64 + UInt64(largeLength), "everything accepted of a long send")
        expect(stalled.acknowledged <= stalled.accepted, "more acknowledged than was accepted")
        await settle()
        expect(stream.progress == stalled, "progress while the peer reads nothing")
        await receive(0..<largeLength, on: peer)
        expect(await out.value == nil, "a long send fails")
        await expectComplete(stream, 64 + UInt64(largeLength), "a long send")
        stream.close()
        await settle()
        expect(stream.progress.isComplete, "the progress of a closed stream")
        peer.close()
    }

    private func expectComplete(_ stream: Stream, _ count: UInt64, _ what: String) async {
        for _ in 0..<1_000 where !stream.progress.isComplete { await settle() }
        expect(
            stream.progress == StreamProgress(accepted: count, acknowledged: count),
            "the progress after " + what)
    }
}
