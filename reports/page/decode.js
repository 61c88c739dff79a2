// The encoded columns of the data block: base64, deflate, LEB128.

/** @param {string} text @returns {Uint8Array} */
function fromBase64(text) {
  const decode = /** @type {any} */ (Uint8Array).fromBase64;
  if (decode) return decode.call(Uint8Array, text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} */
async function inflate(bytes) {
  const stream = new Blob([/** @type {any} */ (bytes)]).stream();
  const plain = stream.pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

/**
 * Fill `values` with the numbers of a LEB128 stream; they are exact below 2^53.
 * @template {Float64Array | Uint32Array | Uint8Array} T
 * @param {Uint8Array} bytes @param {T} values @returns {T}
 */
function fromLeb128(bytes, values) {
  let at = 0;
  let row = 0;
  for (; row < values.length && at < bytes.length; row++) {
    let byte = bytes[at++];
    let value = byte & 127;
    // Bit operations hold 31 bits; what is longer goes on with products.
    let shift = 7;
    for (; byte > 127 && shift < 28; shift += 7) {
      byte = bytes[at++];
      value |= (byte & 127) << shift;
    }
    for (let scale = 2 ** 28; byte > 127; scale *= 128) {
      byte = bytes[at++];
      value += (byte & 127) * scale;
    }
    values[row] = value;
  }
  if (row < values.length || at !== bytes.length) {
    throw new Error(`a column holds other than its ${values.length} rows`);
  }
  return values;
}

/** @param {Float64Array} values zigzag-coded, decoded in place */
function fromZigzag(values) {
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    values[row] = value % 2 ? -(value + 1) / 2 : value / 2;
  }
  return values;
}

/**
 * @template {Float64Array | Uint32Array | Uint8Array} T
 * @param {{encoding: string, rows: number, data: string}} column
 * @param {{new (length: number): T}} Type that holds all values of the column
 * @returns {Promise<T>}
 */
async function decodeColumn(column, Type) {
  if (column.encoding !== "leb128+deflate+base64") throw new Error(`unknown encoding ${column.encoding}`);
  const bytes = await inflate(fromBase64(column.data));
  return fromLeb128(bytes, new Type(column.rows));
}

/** @param {{encoding: string, rows: number, data: string}} column of differences */
const decodeDifferences = async (column) => fromZigzag(await decodeColumn(column, Float64Array));

/** @param {Float64Array} values of which each is the difference to the one before, in place */
function summedUp(values, first = 0, end = values.length) {
  for (let row = first + 1; row < end; row++) values[row] += values[row - 1];
  return values;
}
