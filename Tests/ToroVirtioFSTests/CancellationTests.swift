import Testing
import ToroCore
import ToroTesting
import ToroVirtioFS

/// A cancelled call returns at once; what the host answers later is given back to it.
/// What a device may still write to.
@Suite(.timeLimit(.minutes(5))) struct LostMemoryTests {
    /// A read's buffer does not come back from a device that does not confirm its reset.
    @Test(arguments: [true, false]) @Core func aBufferIsLostUntilAReset(_ hangs: Bool) async throws
    {
        let tree = MemoryTree()
        tree.addFile("/a", "text")
        let share = Share(tree)
        let files = try await share.mount()
        let file = try await files.open("/a")
        share.server.device.onNotify = nil
        let reading = Task {
            guard let buffer = try? IOBuffer(capacity: 1_000) else { return (-1, FileError.stale) }
            let done = await file.read(into: buffer, at: 0)
            guard case .failure(let error) = done.result else { return (-1, FileError.stale) }
            return (done.buffer.capacity, error)
        }
        await HostRunLoop.shared.settle()
        let chain = try #require(share.server.device.take(1))
        share.server.device.hangsInReset = hangs
        share.server.device.queues[1]?.give(head: 9_999, written: 0)
        share.server.device.interrupt()
        let (capacity, error) = await reading.value
        #expect(capacity == (hangs ? 0 : 1_000) && error == .deviceFailed)
        #expect(share.server.device.resets == 2)
        if hangs { chain.write([UInt8](repeating: 0xff, count: chain.capacity)) }
        // Nothing is asked of the device any more.
        await #expect(throws: FileError.deviceFailed) { try await files.open("/a") }
    }
}

@Suite(.timeLimit(.minutes(5))) struct CancellationTests {
    @Core private func share() -> Share {
        let tree = MemoryTree()
        tree.addFile("/docs/a.txt", "alpha")
        return Share(tree)
    }

    /// How a task ended, once it has.
    @Core private final class Ending {
        var error: FileError?
        var capacity: Int?
    }

    /// Starts `body`, lets its request reach the host, cancels it, and expects it to be over.
    @Core private func cancel(
        _ share: Share, _ body: @escaping @Core (Ending) async -> Void
    ) async -> Ending {
        let ending = Ending()
        share.server.isHolding = true
        let task = Task { await body(ending) }
        await HostRunLoop.shared.settle()
        #expect(share.server.heldCount == 1)
        #expect(ending.error == nil)
        task.cancel()
        await HostRunLoop.shared.settle()
        #expect(ending.error == .cancelled)
        return ending
    }

    @Core private func end(_ share: Share) async {
        share.server.release()
        await HostRunLoop.shared.settle()
        #expect(share.server.violations == [])
        #expect(share.server.handles.isEmpty)
    }

    @Test @Core func aReadReturnsWithoutItsBuffer() async throws {
        let share = share()
        let file = try await share.mount().open("/docs/a.txt")
        let ending = await cancel(share) { ending in
            guard let buffer = try? IOBuffer(capacity: 100) else { return }
            let done = await file.read(into: buffer, at: 0)
            if case .failure(let error) = done.result { ending.error = error }
            ending.capacity = done.buffer.capacity
        }
        #expect(ending.capacity == 0)
        // The host still reads: the handle stays open until it has answered.
        file.close()
        await HostRunLoop.shared.settle()
        #expect(share.server.handles.count == 1)
        #expect(share.server.heldCount == 1)
        await end(share)
    }

    @Test @Core func aReadThatDoesNotFitIntoTheQueueKeepsItsBuffer() async throws {
        let share = share()
        let file = try await share.mount().open("/docs/a.txt")
        share.server.isHolding = true
        let endings = (0..<70).map { _ in Ending() }
        let tasks = endings.map { ending in
            Task {
                guard let buffer = try? IOBuffer(capacity: 100) else { return }
                let done = await file.read(into: buffer, at: 0)
                if case .failure(let error) = done.result { ending.error = error }
                ending.capacity = done.buffer.capacity
            }
        }
        await HostRunLoop.shared.settle()
        #expect(share.server.heldCount == 64)
        for task in tasks { task.cancel() }
        await HostRunLoop.shared.settle()
        #expect(endings.allSatisfy { $0.error == .cancelled })
        #expect(endings.filter { $0.capacity == 100 }.count == 6)
        #expect(endings.filter { $0.capacity == 0 }.count == 64)
        file.close()
        await end(share)
        // Those six were never asked for.
        #expect(share.server.operations[15] == 64)
    }

    @Test @Core func aHandleThatComesLateIsReleased() async throws {
        let share = share()
        share.server.validity = .seconds(100)
        let files = try await share.mount()
        _ = try await files.attributes(at: "/docs/a.txt")
        _ = await cancel(share) { ending in
            do throws(FileError) {
                _ = try await files.open("/docs/a.txt")
            } catch {
                ending.error = error
            }
        }
        share.server.release()
        await HostRunLoop.shared.settle()
        #expect(share.server.operations[14] == 1)
        #expect(share.server.operations[18] == 1)
        await end(share)
    }

    @Test @Core func aNodeThatComesLateIsForgotten() async throws {
        let tree = MemoryTree()
        for index in 0..<200 { tree.addFile(Path("/f\(index)"), "x") }
        let share = Share(tree)
        let files = try await share.mount()
        for index in 0..<200 {
            _ = await cancel(share) { ending in
                do throws(FileError) {
                    _ = try await files.attributes(at: Path("/f\(index)"))
                } catch {
                    ending.error = error
                }
            }
            share.server.release()
            await HostRunLoop.shared.settle()
        }
        #expect(share.server.operations[1] == 200)
        // They go back in batches of 64.
        #expect(share.server.references.values.reduce(0, +) == 200 - 3 * 64)
        await end(share)
    }

    /// The answer arrives when the task has been cancelled and has not had its turn yet.
    @Test @Core func anAnswerThatCrossesTheCancellationIsTaken() async throws {
        let share = share()
        share.server.validity = .seconds(100)
        let files = try await share.mount()
        _ = try await files.attributes(at: "/docs/a.txt")
        share.server.isHolding = true
        let task = Task { () -> FileError? in
            do throws(FileError) {
                _ = try await files.open("/docs/a.txt")
                return nil
            } catch {
                return error
            }
        }
        await HostRunLoop.shared.settle()
        // The driver's turn comes before the task's.
        share.server.release()
        task.cancel()
        #expect(await task.value == nil)
        await end(share)
        #expect(share.server.operations[18] == 1)
    }

    /// A host that leaves FORGET alone for a while gets all of it in the end.
    @Test @Core func noForgottenNodeIsLost() async throws {
        let count = 64 * 40
        let tree = MemoryTree()
        for index in 0..<count { tree.addFile(Path("/f\(index)"), "x") }
        let share = Share(tree)
        let files = try await share.mount()
        share.server.holdsForgets = true
        for index in 0..<count { _ = try await files.attributes(at: Path("/f\(index)")) }
        await HostRunLoop.shared.settle()
        #expect(share.server.references.count == count)
        share.server.holdsForgets = false
        share.server.release()
        await HostRunLoop.shared.settle()
        #expect(share.server.references.values.reduce(0, +) < 64)
        #expect(share.server.violations == [])
    }
}
