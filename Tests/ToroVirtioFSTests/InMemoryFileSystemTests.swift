import Testing
import ToroCore
import ToroTesting

@Suite struct InMemoryFileSystemTests {
    @Test @Core func conformsToTheFileSystemProtocol() async {
        let tree = MemoryTree()
        FileSystemRecipe.standard().build(in: tree)
        let files = InMemoryFileSystem(tree)
        let conformance = FileSystemConformance(files)
        conformance.change = { path, bytes in
            tree.node(at: path)?.contents = bytes
            tree.node(at: path)?.modified.seconds += 1
        }
        #expect(await conformance.run() == [])
        #expect(conformance.checks > 400)
        #expect(files.openFiles == 0)
        #expect(files.openDirectories == 0)
    }

    @Test @Core func failsTheOperationThatTheTestChose() async throws {
        let tree = MemoryTree()
        tree.addFile("file", "text")
        let files = InMemoryFileSystem(tree)
        files.faults.fail(operation: 2, with: .host(code: 5))
        _ = try await files.attributes(at: "file")
        await #expect(throws: FileError.host(code: 5)) { try await files.attributes(at: "file") }
        _ = try await files.attributes(at: "file")
    }

    @Test @Core func holdsOperationsUntilReleased() async throws {
        let tree = MemoryTree()
        tree.addFile("file", "text")
        let files = InMemoryFileSystem(tree)
        files.faults.hold()
        let going = Task { try? await files.attributes(at: "file") }
        let cancelled = Task { () -> FileError? in
            do throws(FileError) {
                _ = try await files.attributes(at: "file")
                return nil
            } catch { return error }
        }
        await HostRunLoop.shared.settle()
        #expect(files.faults.waiting == 2)
        cancelled.cancel()
        await HostRunLoop.shared.settle()
        #expect(files.faults.waiting == 1)
        #expect(await cancelled.value == .cancelled)
        files.faults.release()
        #expect(await going.value?.size == 4)
    }

    @Test @Core func deliversShortReadsOnOrder() async throws {
        let tree = MemoryTree()
        tree.addFile("file", "some text")
        let files = InMemoryFileSystem(tree)
        files.faults.maximumReadLength = 3
        let file = try await files.open("file")
        let done = await file.read(into: try IOBuffer(capacity: 100), at: 0)
        #expect(try done.result.get() == 3)
    }
}
