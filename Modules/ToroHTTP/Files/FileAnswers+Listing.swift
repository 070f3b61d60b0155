import ToroCore

extension FileAnswers {
    /// A page with the names in `directory`, in the file system's order, sent as they are read.
    func list(_ directory: any OpenDirectory, _ path: Path) -> HTTPResponse {
        HTTPResponse(type: "text/html; charset=utf-8") { (body) async throws(HTTPError) in
            var page = ByteWriter(capacity: 4_096)
            page.append("<!doctype html><meta charset=utf-8><title>")
            page.append(escaping: path.bytes)
            page.append("</title><h1>")
            page.append(escaping: path.bytes)
            page.append("</h1><ul>\n")
            while let entry = try await FileAnswers.next(directory) {
                page.append(entry)
                if page.count >= 3_072 {
                    try await body.write(page)
                    page = ByteWriter(capacity: 4_096)
                }
            }
            page.append("</ul>\n")
            try await body.write(page)
            directory.close()
        }
    }

    private static func next(_ directory: any OpenDirectory) async throws(HTTPError)
        -> DirectoryEntry?
    {
        do throws(FileError) {
            return try await directory.next()
        } catch {
            throw .incompleteBody
        }
    }
}

extension ByteWriter {
    /// Adds a list item with a link.
    fileprivate func append(_ entry: DirectoryEntry) {
        let isDirectory = entry.kind == .directory
        // The dot keeps a colon in the name from looking like a scheme.
        append("<li><a href=\"./")
        for byte in entry.name { append(percentEncoding: byte) }
        if isDirectory { append(ASCII.slash) }
        append("\">")
        append(escaping: entry.name)
        if isDirectory { append(ASCII.slash) }
        append("</a>\n")
    }

    /// Adds text for HTML; what HTML could take for its own is written as references.
    fileprivate func append(escaping bytes: [UInt8]) {
        for byte in bytes {
            switch byte {
            case 0x26: append("&amp;")
            case 0x3C: append("&lt;")
            case 0x3E: append("&gt;")
            case 0x22: append("&quot;")
            case 0x27: append("&#39;")
            default: append(byte)
            }
        }
    }
}
