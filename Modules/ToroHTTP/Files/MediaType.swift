/// The media types of files, by the ends of their names (RFC 9110 section 8.3.1).
enum MediaType {
    private static var types: TextTable {
        TextTable(
            """
            html text/html; charset=utf-8
            htm text/html; charset=utf-8
            css text/css; charset=utf-8
            js text/javascript; charset=utf-8
            mjs text/javascript; charset=utf-8
            json application/json
            map application/json
            txt text/plain; charset=utf-8
            md text/markdown; charset=utf-8
            csv text/csv; charset=utf-8
            xml application/xml
            svg image/svg+xml
            png image/png
            jpg image/jpeg
            jpeg image/jpeg
            gif image/gif
            webp image/webp
            avif image/avif
            ico image/x-icon
            woff font/woff
            woff2 font/woff2
            ttf font/ttf
            otf font/otf
            wasm application/wasm
            pdf application/pdf
            zip application/zip
            gz application/gzip
            mp3 audio/mpeg
            ogg audio/ogg
            mp4 video/mp4
            webm video/webm
            application/octet-stream

            """)
    }

    /// Writes the type of a file with this path; `application/octet-stream` for an unknown ending.
    static func emit(of path: [UInt8], into writer: ByteWriter) {
        var start = path.count
        while start > 0, path[start - 1] != ASCII.dot, path[start - 1] != ASCII.slash { start -= 1 }
        // A name without a dot has the ending of no type.
        let hasEnding = start > 0 && path[start - 1] == ASCII.dot
        types.append(
            hasEnding ? path.count - start : 0, { ASCII.lowercased(path[start + $0]) }, to: writer)
    }
}
