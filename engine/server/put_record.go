package server

// putRecord stores one record.
func (s *Server) putRecord(c *call) error {
	in := putRequests.Get().(*putRequest)
	defer in.recycle()
	if err := in.decodeRecord(c.protocol, c.body); err != nil {
		return err
	}
	v, results, err := s.put(c.ctx, in, "")
	if err != nil {
		return err
	}
	r := &results[0]
	if r.Err != nil {
		code, text := s.putFailure(v.name, r)
		return failure(code, "%s", text)
	}
	d := document{p: c.protocol, buf: c.takeBody()} // the record is stored
	d.begin('{')
	d.name("ShardId")
	d.text(r.Shard)
	d.name("SequenceNumber")
	d.sequence(r.Sequence)
	if v.known.KeyID != "" {
		d.name("EncryptionType")
		d.text("KMS")
	}
	d.end('}')
	c.send(d.buf)
	return nil
}
