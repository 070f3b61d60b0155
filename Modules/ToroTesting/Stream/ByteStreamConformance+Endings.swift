import ToroCore

extension ByteStreamConformance {
    /// This side sends no more: the peer sees the end, and what it sends still comes.
    func checkOwnFinish() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<64, on: stream) == nil, "a send before the end fails")
        expect(await finish(stream) == nil, "finish fails")
        await receive(0..<64, on: peer)
        await expectEnd(peer, "the peer's receive after our end")
        expect(await send(0..<1, on: stream) == .closed, "a send after our end")
        expect(await send(0..<64, on: peer) == nil, "the peer's send after our end fails")
        await receive(0..<64, on: stream)
        expect(await finish(peer) == nil, "the peer's finish fails")
        await expectEnd(stream, "receive after both ends")
        stream.close()
        peer.close()
    }

    /// The peer sends no more: its bytes come, then the end, and it still hears us.
    func checkFinishOfPeer() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<64, on: peer) == nil, "the peer's send before its end fails")
        expect(await finish(peer) == nil, "the peer's finish fails")
        await receive(0..<64, on: stream)
        await expectEnd(stream, "receive after the peer's end")
        await expectEnd(stream, "a second receive after the peer's end")
        expect(await send(0..<64, on: stream) == nil, "a send after the peer's end fails")
        await receive(0..<64, on: peer)
        stream.close()
        peer.close()

        guard let (waiting, other) = await open() else { return }
        let end = Task { await self.expectEnd(waiting, "a receive that waits for the peer's end") }
        await settle()
        expect(await finish(other) == nil, "the peer's finish fails")
        await end.value
        waiting.close()
        other.close()
    }

    func finish<End: ByteStream>(_ stream: End) async -> StreamError? {
        do throws(StreamError) {
            try await stream.finish()
            return nil
        } catch {
            return error
        }
    }

    /// A close ends what is under way, and everything later.
    func checkClose() async {
        guard let (stream, peer) = await open() else { return }
        let receiver = Task { await self.receiveError(stream) }
        let sender = Task { await self.flood(stream) }
        await settle()
        stream.close()
        expect(await receiver.value == .closed, "a receive that waits at a close")
        expect(await sender.value == .closed, "a send that waits at a close")
        expect(await receiveError(stream) == .closed, "a receive after a close")
        expect(await send(0..<1, on: stream) == .closed, "a send after a close")
        expect(await finish(stream) == .closed, "finish after a close")
        stream.close()
        peer.close()
    }

    /// The peer breaks the connection off.
    func checkReset() async {
        guard let (stream, peer) = await open() else { return }
        expect(await send(0..<10, on: stream) == nil, "a send before a reset fails")
        let receiver = Task { await self.receiveError(stream) }
        await settle()
        peer.abort()
        expect(await receiver.value == .reset, "a receive that waits at a reset")
        expect(await receiveError(stream) == .reset, "a receive after a reset")
        expect(await send(0..<1, on: stream) == .reset, "a send after a reset")
        expect(await receiveError(stream) == .reset, "a receive after a send after a reset")
        stream.close()

        guard let (full, other) = await open() else { return }
        let sender = Task { await self.flood(full) }
        await settle()
        other.abort()
        expect(await sender.value == .reset, "a send that waits at a reset")
        expect(await receiveError(full) == .reset, "a receive after a send that was reset")
        full.close()
    }

    /// A cancelled receive takes no byte with it.
    func checkCancelledReceive() async {
        guard let (stream, peer) = await open() else { return }
        let waiting = Task { await self.receiveError(stream) }
        await settle()
        waiting.cancel()
        expect(await waiting.value == .cancelled, "a receive that is cancelled while it waits")
        let early = Task { await self.receiveError(stream) }
        early.cancel()
        expect(await early.value == .cancelled, "a receive that is cancelled before it waits")
        expect(await send(0..<64, on: peer) == nil, "the peer's send after that fails")
        await receive(0..<64, on: stream)
        stream.close()
        peer.close()
    }

    /// A part may have been sent: what is left of the stream is its end.
    func checkCancelledSend() async {
        guard let (stream, peer) = await open() else { return }
        let waiting = Task { await self.flood(stream) }
        await settle()
        waiting.cancel()
        expect(await waiting.value == .cancelled, "a send that is cancelled while it waits")
        expect(await send(0..<64, on: peer) == nil, "the peer's send after that fails")
        await receive(0..<64, on: stream)
        stream.close()
        peer.close()
    }
}
