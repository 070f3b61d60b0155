/// The media types of files, by the ends of their names (RFC 9110 section 8.3.1).
enum MediaType {
    /// The type of a file with this path; `application/octet-stream` for an unknown ending.
    static func of(_ path: [UInt8]) -> StaticString {
        var ending: UInt64 = 0
        var shift: UInt64 = 0
        var index = path.count
        // An ending as a number: its bytes, eight bits each, the first one highest.
        while index > 0, shift < 64 {
            index -= 1
            let byte = path[index]
            if byte == ASCII.slash { break }
            if byte == ASCII.dot { return type(ending) }
            ending |= UInt64(ASCII.lowercased(byte)) << shift
            shift += 8
        }
        return "application/octet-stream"
    }

    private static func type(_ ending: UInt64) -> StaticString {
        switch ending {
        // html, htm
        case 0x6874_6D6C, 0x68_746D: "text/html; charset=utf-8"
        // css
        case 0x63_7373: "text/css; charset=utf-8"
        // js, mjs
        case 0x6A73, 0x6D_6A73: "text/javascript; charset=utf-8"
        // json, map
        case 0x6A73_6F6E, 0x6D_6170: "application/json"
        // txt
        case 0x74_7874: "text/plain; charset=utf-8"
        // md
        case 0x6D64: "text/markdown; charset=utf-8"
        // csv
        case 0x63_7376: "text/csv; charset=utf-8"
        // xml
        case 0x78_6D6C: "application/xml"
        // svg
        case 0x73_7667: "image/svg+xml"
        // png
        case 0x70_6E67: "image/png"
        // jpg, jpeg
        case 0x6A_7067, 0x6A70_6567: "image/jpeg"
        // gif
        case 0x67_6966: "image/gif"
        // webp
        case 0x7765_6270: "image/webp"
        // avif
        case 0x6176_6966: "image/avif"
        // ico
        case 0x69_636F: "image/x-icon"
        // woff
        case 0x776F_6666: "font/woff"
        // woff2
        case 0x77_6F66_6632: "font/woff2"
        // ttf
        case 0x74_7466: "font/ttf"
        // otf
        case 0x6F_7466: "font/otf"
        // wasm
        case 0x7761_736D: "application/wasm"
        // pdf
        case 0x70_6466: "application/pdf"
        // zip
        case 0x7A_6970: "application/zip"
        // gz
        case 0x677A: "application/gzip"
        // mp3
        case 0x6D_7033: "audio/mpeg"
        // ogg
        case 0x6F_6767: "audio/ogg"
        // mp4
        case 0x6D_7034: "video/mp4"
        // webm
        case 0x7765_626D: "video/webm"
        default: "application/octet-stream"
        }
    }
}
