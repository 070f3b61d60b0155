import ToroCore

/// The promises of ``ToroCore/FileSystem``, tried one by one on any implementation.
///
///     let failures = await FileSystemConformance(files, traits: .posix).run()
///     #expect(failures.isEmpty)
///
/// The file system holds the files of ``FileSystemRecipe`` for the same traits (others may be
/// there too, outside the recipe's directories). Needs no test library, so that it also runs in a
/// guest.
@Core public final class FileSystemConformance<Files: FileSystem> {
    let files: Files
    let traits: FileSystemTraits
    private var failures: [String] = []
    /// Gives a file other bytes in place, behind the file system's back; without it changes are
    /// not tried.
    public var change: (@Core (_ path: Path, _ bytes: [UInt8]) async -> Void)?

    /// The number of checks made so far.
    public private(set) var checks = 0

    /// A run on `files`, which hold the recipe for `traits`.
    public init(_ files: Files, traits: FileSystemTraits = .posix) {
        self.files = files
        self.traits = traits
    }

    /// Makes all checks; one sentence for each that failed.
    public func run() async -> [String] {
        await checkAttributes()
        await checkErrors()
        await checkNames()
        await checkReading()
        await checkReadingManyAtOnce()
        await checkDirectories()
        await checkClosing()
        await checkCancellation()
        await checkStatistics()
        await checkCurrentAttributes()
        if traits.contains(.symbolicLinks) {
            await checkLinks()
            await checkRefusedLinks()
            await checkLinkTexts()
        }
        return failures
    }

    /// Notes a failure unless `condition` holds.
    func expect(_ condition: Bool, _ what: String) {
        checks += 1
        if !condition { failures.append(what) }
    }

    /// The bytes of a path as far as they are text.
    func text(_ path: Path) -> String { "'" + String(decoding: path.bytes, as: UTF8.self) + "'" }

    /// The attributes at `path`; nil, and a failure noted, if there are none.
    func attributes(_ path: Path) async -> FileAttributes? {
        do throws(FileError) {
            return try await files.attributes(at: path)
        } catch {
            expect(false, "attributes of " + text(path) + ": " + error.explanation)
            return nil
        }
    }

    /// The file at `path`; nil, and a failure noted, if it cannot be opened.
    func open(_ path: Path) async -> Files.File? {
        do throws(FileError) {
            return try await files.open(path)
        } catch {
            expect(false, "open " + text(path) + ": " + error.explanation)
            return nil
        }
    }

    /// The directory at `path`; nil, and a failure noted, if it cannot be opened.
    func openDirectory(_ path: Path) async -> Files.Directory? {
        do throws(FileError) {
            return try await files.openDirectory(path)
        } catch {
            expect(false, "open directory " + text(path) + ": " + error.explanation)
            return nil
        }
    }

    /// The attributes of an open file as they are now; nil, and a failure noted, if there are none.
    func currentAttributes(_ file: Files.File) async -> FileAttributes? {
        do throws(FileError) {
            return try await file.currentAttributes()
        } catch {
            expect(false, "current attributes: " + error.explanation)
            return nil
        }
    }

    /// Notes a failure unless `path` is refused with `error` however it is asked for.
    func expectRefused(_ path: Path, _ error: FileError) async {
        await expectAttributesRefused(path, error)
        await expectOpenRefused(path, error)
        await expectOpenDirectoryRefused(path, error)
    }

    /// Notes a failure unless `attributes(at: path)` fails with `error`.
    func expectAttributesRefused(_ path: Path, _ error: FileError) async {
        do throws(FileError) {
            _ = try await files.attributes(at: path)
            expect(false, "attributes of " + text(path) + " should fail: " + error.explanation)
        } catch let thrown {
            expectSame(thrown, error, "attributes of ", path)
        }
    }

    /// Notes a failure unless `open(path)` fails with `error`.
    func expectOpenRefused(_ path: Path, _ error: FileError) async {
        do throws(FileError) {
            try await files.open(path).close()
            expect(false, "open " + text(path) + " should fail: " + error.explanation)
        } catch let thrown {
            expectSame(thrown, error, "open ", path)
        }
    }

    /// Notes a failure unless `openDirectory(path)` fails with `error`.
    func expectOpenDirectoryRefused(_ path: Path, _ error: FileError) async {
        do throws(FileError) {
            try await files.openDirectory(path).close()
            expect(false, "open directory " + text(path) + " should fail: " + error.explanation)
        } catch let thrown {
            expectSame(thrown, error, "open directory ", path)
        }
    }

    /// Notes a failure unless the text of the link at `path` is refused with `error`.
    func expectReadLinkRefused(_ path: Path, _ error: FileError) async {
        do throws(FileError) {
            _ = try await files.readLink(path)
            expect(false, "read link " + text(path) + " should fail: " + error.explanation)
        } catch let thrown {
            expectSame(thrown, error, "read link ", path)
        }
    }

    private func expectSame(
        _ thrown: FileError, _ wanted: FileError, _ what: String, _ path: Path
    ) {
        expect(
            thrown == wanted,
            what + text(path) + " failed with '" + thrown.explanation + "', not '"
                + wanted.explanation + "'")
    }

    /// Reads at most `length` bytes at `offset`; nil, and a failure noted, if that fails.
    func read(_ file: Files.File, at offset: UInt64, length: Int) async -> [UInt8]? {
        guard let buffer = try? IOBuffer(capacity: length) else {
            expect(false, "no memory for a buffer")
            return nil
        }
        let done = await file.read(into: buffer, at: offset)
        switch done.result {
        case .failure(let error):
            expect(false, "read: " + error.explanation)
            return nil
        case .success(let count):
            let filled = done.take()
            expect(filled.count == count, "the count of a read is not what the buffer gained")
            var bytes: [UInt8] = []
            bytes.reserveCapacity(filled.count)
            let span = filled.bytes
            for index in 0..<span.byteCount {
                // SAFETY: index is within the span, and every byte is a UInt8.
                bytes.append(unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self))
            }
            return bytes
        }
    }

    /// Notes a failure unless the file at `path` has these bytes.
    func expectContents(_ path: Path, _ bytes: [UInt8]) async {
        guard let file = await open(path) else { return }
        expect(file.attributes.size == UInt64(bytes.count), "size of " + text(path))
        expect(file.attributes.kind == .regular, "kind of " + text(path))
        let contents = await read(file, at: 0, length: bytes.count + 100)
        expect(contents == bytes, "contents of " + text(path))
        file.close()
    }
}
