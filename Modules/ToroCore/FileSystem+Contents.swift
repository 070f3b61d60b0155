extension FileSystem {
    /// The first `limit` bytes of the file at `path`, or all if it has fewer. For small files: what
    /// is large is read in blocks with ``OpenFile/read(into:at:)``.
    public func contents(of path: Path, limit: Int) async throws(FileError) -> [UInt8] {
        let file = try await open(path)
        defer { file.close() }
        var bytes: [UInt8] = []
        while bytes.count < limit {
            let buffer: IOBuffer
            do throws(OutOfMemory) {
                buffer = try IOBuffer(capacity: min(limit - bytes.count, 4096))
            } catch {
                throw .outOfMemory
            }
            let block = try await file.read(into: buffer, at: UInt64(bytes.count)).get()
            if block.isEmpty { break }
            block.withBytes { $0.append(to: &bytes) }
        }
        return bytes
    }
}

extension RawSpan {
    /// Adds the bytes to the end of an array.
    fileprivate func append(to bytes: inout [UInt8]) {
        for offset in 0..<byteCount {
            // SAFETY: the offset is below the span's length.
            bytes.append(unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self))
        }
    }
}
