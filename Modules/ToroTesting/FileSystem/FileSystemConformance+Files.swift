import ToroCore

extension FileSystemConformance {
    func checkAttributes() async {
        guard let root = await attributes(.root), let hello = await attributes("/hello"),
            let directory = await attributes("a/b"), let empty = await attributes("empty")
        else { return }
        expect(root.kind == .directory, "the root is no directory")
        expect(directory.kind == .directory, "'a/b' is no directory")
        expect(hello.kind == .regular, "'hello' is no file")
        expect(hello.size == 20, "'hello' has not 20 bytes")
        expect(empty.size == 0, "'empty' is not empty")
        expect(hello.permissions <= 0o7777, "permissions hold more than 12 bits")
        expect(hello.identity != empty.identity, "two files have one identity")
        for same: Path in ["hello", "//hello", "/./hello", "a/../hello", "a/b/.././../hello"] {
            let found = await attributes(same)
            expect(found == hello, text(same) + " is another file than 'hello'")
        }
        guard let file = await open("hello") else { return }
        expect(file.attributes == hello, "attributes differ between the path and the open file")
        file.close()
        let empties: [Path] = ["", "/", ".", "a/..", "//"]
        for path in empties {
            let found = await attributes(path)
            expect(found?.identity == root.identity, text(path) + " is not the root")
        }
    }

    /// An open file tells what it is now, whatever was remembered of it.
    func checkCurrentAttributes() async {
        guard let file = await open("empty") else { return }
        let before = await currentAttributes(file)
        expect(before == file.attributes, "current attributes of a file that nobody changed")
        if let change {
            await change("empty", Array("grown".utf8))
            let after = await currentAttributes(file)
            expect(after?.size == 5, "the current size of a file that has grown")
            expect(after?.identity == before?.identity, "the identity of a file that has grown")
            expect(after?.modified != before?.modified, "the time of a file that has grown")
            let bytes = await read(file, at: 0, length: 10)
            expect(bytes == Array("grown".utf8), "the bytes of a file that has grown")
            await change("empty", [])
            expect(await currentAttributes(file)?.size == 0, "the size of a file that was emptied")
        }
        file.close()
        do throws(FileError) {
            _ = try await file.currentAttributes()
            expect(false, "a closed file tells its attributes")
        } catch {
            expect(error == .stale, "the attributes of a closed file fail with another error")
        }
    }

    func checkErrors() async {
        await expectRefused("missing", .notFound)
        await expectRefused("missing/file", .notFound)
        await expectRefused("a/missing", .notFound)
        await expectRefused("missing/../hello", .notFound)
        await expectRefused("hello/x", .notADirectory)
        await expectRefused("hello/", .notADirectory)
        await expectRefused("hello/.", .notADirectory)
        await expectOpenRefused("hello/", .notADirectory)
        await expectRefused("hello/../hello", .notADirectory)
        await expectRefused("..", .escapesRoot)
        await expectRefused("../hello", .escapesRoot)
        await expectRefused("a/../../hello", .escapesRoot)
        await expectRefused(Path([0x68, 0]), .invalidPath)
        await expectRefused(Path([UInt8](repeating: 0x6E, count: 256)), .nameTooLong)
        await expectRefused(Path([UInt8](repeating: 0x2F, count: 4096)), .nameTooLong)
        await expectOpenRefused("a", .isADirectory)
        await expectOpenRefused("/", .isADirectory)
        await expectOpenDirectoryRefused("hello", .notADirectory)
        await expectReadLinkRefused("hello", .invalidPath)
        await expectReadLinkRefused("a", .invalidPath)
        await expectReadLinkRefused("/", .invalidPath)
        await expectReadLinkRefused("missing", .notFound)
    }

    func checkNames() async {
        for name in FileSystemRecipe.plainNames { await expectContents(name, name.bytes) }
        if traits.contains(.rawNames) {
            for name in FileSystemRecipe.rawNames { await expectContents(name, name.bytes) }
        }
        await expectContents("a/b/c/deep", Array("deep".utf8))
        await expectContents(
            Path("long").appending(FileSystemRecipe.longName), Array("long".utf8))
    }

    func checkReading() async {
        await expectContents("hello", Array("Hello, file system!\n".utf8))
        await expectContents("empty", [])
        guard let hello = await open("hello") else { return }
        let cases: [(offset: UInt64, length: Int, text: String)] = [
            (0, 5, "Hello"), (7, 4, "file"), (12, 100, "system!\n"), (19, 1, "\n"), (0, 0, ""),
            (20, 10, ""), (21, 10, ""), (1 << 40, 10, ""), (UInt64(Int64.max), 10, ""),
            (UInt64(Int64.max) + 1, 10, ""), (.max, 10, ""),
        ]
        for (offset, length, text) in cases {
            let bytes = await read(hello, at: offset, length: length)
            expect(bytes == Array(text.utf8), "a read of 'hello' at " + String(offset))
        }
        await checkThatReadsAdd(hello)
        hello.close()
        await checkBig()
    }

    /// What a buffer holds stays there; the read goes behind it.
    private func checkThatReadsAdd(_ file: Files.File) async {
        guard var buffer = try? IOBuffer(capacity: 8) else { return }
        buffer.append("ab: ")
        let done = await file.read(into: buffer, at: 0)
        if case .success(let count) = done.result { expect(count == 4, "a read behind 4 bytes") }
        let filled = done.take()
        expect(filled.count == 8, "a read behind 4 bytes does not keep them")
        let expected = Array("ab: Hell".utf8)
        for index in 0..<min(filled.count, 8) {
            // SAFETY: index is within the span, and every byte is a UInt8.
            let byte = unsafe filled.bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            expect(byte == expected[index], "a read behind 4 bytes changes them")
        }
    }

    private func checkBig() async {
        guard let big = await open("big") else { return }
        expect(big.attributes.size == UInt64(FileSystemRecipe.bigLength), "the size of 'big'")
        var offset = 0
        // Lengths that fit neither pages nor powers of two.
        while let bytes = await read(big, at: UInt64(offset), length: 1_500_001) {
            if bytes.isEmpty { break }
            expect(isPattern(bytes, at: offset), "'big' is wrong near " + String(offset))
            offset += bytes.count
        }
        expect(offset == FileSystemRecipe.bigLength, "'big' ends at " + String(offset))
        big.close()
    }

    private func isPattern(_ bytes: [UInt8], at offset: Int) -> Bool {
        for index in bytes.indices
        where bytes[index] != FileSystemRecipe.pattern(at: offset + index) {
            return false
        }
        return true
    }

    func checkReadingManyAtOnce() async {
        guard let big = await open("big") else { return }
        var tasks: [Task<Void, Never>] = []
        for index in 0..<24 {
            tasks.append(Task { await self.readPiece(of: big, at: index * 120_001) })
        }
        for task in tasks { await task.value }
        big.close()
    }

    private func readPiece(of big: Files.File, at offset: Int) async {
        let bytes = await read(big, at: UInt64(offset), length: 70_003) ?? []
        expect(bytes.count == 70_003, "one of many reads was short")
        expect(isPattern(bytes, at: offset), "one of many reads was wrong")
    }

    func checkClosing() async {
        guard let file = await open("hello") else { return }
        file.close()
        file.close()
        if let buffer = try? IOBuffer(capacity: 8) {
            let done = await file.read(into: buffer, at: 0)
            if case .failure(let error) = done.result {
                expect(error == .stale, "a read of a closed file fails with another error")
            } else {
                expect(false, "a closed file can be read")
            }
        }
        guard let directory = await openDirectory("many") else { return }
        directory.close()
        directory.close()
        do throws(FileError) {
            _ = try await directory.next()
            expect(false, "a closed directory can be read")
        } catch {
            expect(error == .stale, "a closed directory fails with another error")
        }
    }

    /// A cancelled operation ends, with its result or with `.cancelled`, and nothing breaks.
    func checkCancellation() async {
        guard let big = await open("big") else { return }
        for _ in 0..<4 {
            let task = Task { await self.readForCancellation(big) }
            task.cancel()
            await task.value
        }
        let bytes = await read(big, at: 5, length: 1000) ?? []
        expect(isPattern(bytes, at: 5) && bytes.count == 1000, "a read after a cancelled one")
        big.close()
    }

    private func readForCancellation(_ file: Files.File) async {
        guard let buffer = try? IOBuffer(capacity: 100_000) else { return }
        let done = await file.read(into: buffer, at: 0)
        if case .failure(let error) = done.result {
            expect(error == .cancelled, "a cancelled read fails with another error")
        }
        do throws(FileError) {
            _ = try await files.attributes(at: "a/b/c/deep")
        } catch {
            expect(error == .cancelled, "a cancelled look-up fails with another error")
        }
    }

    func checkStatistics() async {
        do throws(FileError) {
            let figures = try await files.statistics()
            expect(figures.blockSize > 0, "statistics: a block of no bytes")
            expect(figures.freeBlocks <= figures.blocks, "statistics: more free than there are")
        } catch {
            expect(false, "statistics: " + error.explanation)
        }
    }
}
